"""Files of secrets, tokens, keys and certificates that the settings name: opened before they are needed."""

from __future__ import annotations

from pathlib import Path

from wetread.errors import SettingsError
from wetread.routes import Alert
from wetread.settings import Destination, Settings
from wetread.wire.https import bearer
from wetread.wire.smart import jwks
from wetread.wire.tls import client_context, connect_context
from wetread.wire.webhook import key_of


def places(settings: Settings) -> tuple[Destination, ...]:
    """Return everybody whom the node calls."""
    return (*settings.destinations, *settings.archives, *settings.worklists, *settings.managers)


def check_credentials(settings: Settings) -> None:
    """Open every file with which the node proves who it is to others.

    Raises
    ------
    SettingsError
        As `check_destination` and `check_alert`.
    """
    for place in places(settings):
        check_destination(place)
    for rule in settings.alerts:
        check_alert(rule)


def check_destination(place: Destination) -> None:
    """Open the token, the client key and the TLS files of whoever is sent to or asked.

    Raises
    ------
    SettingsError
        A file cannot be used; the message names the destination, the setting and the file, never what is in it.
    """
    try:
        bearer(place.token)
        if place.client_key != Path():
            jwks(place.client_key)
        if not place.url:
            connect_context(place)
        elif any(file != Path() for file in (place.tls_certificate, place.tls_key, place.tls_authority)):
            client_context(place)
    except SettingsError as error:
        raise SettingsError(f"destination {place.ae_title}: {error}") from error


def check_alert(rule: Alert) -> None:
    """Read the key by which a rule's webhooks are signed.

    Raises
    ------
    SettingsError
        The file cannot be read, or the key is too short.
    """
    if rule.secret == Path():
        return
    try:
        key_of(rule.secret)
    except SettingsError as error:
        raise SettingsError(f"alerts, {rule.name}: {error}") from error
