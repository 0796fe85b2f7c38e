// The configuration of the web viewer OHIF (@ohif/app 3.13), served as /app-config.js: where this node is, and what OHIF
// would not do with films, reports and maps by itself.  It shows what the objects say, nothing else.

const root = new URL('dicomweb', document.currentScript.src).href;

// Patient Orientation (0020,0020) of a film, as directions in the patient (PS3.3 C.7.6.1.1.1).
const directions = { L: [1, 0, 0], R: [-1, 0, 0], P: [0, 1, 0], A: [0, -1, 0], H: [0, 0, 1], F: [0, 0, -1] };

// OHIF takes every image without Image Orientation (Patient) for an axial slice, so it refuses the segmentation of a
// film, whose planes follow Patient Orientation, and marks no side.
let asking = false;
function filmPlane(type, imageId) {
  if (type !== 'imagePlaneModule' || asking) return undefined;
  const { metaData } = window.cornerstone;
  const { ImageOrientationPatient, PatientOrientation } = metaData.get('instance', imageId) ?? {};
  const [row, column] = (Array.isArray(PatientOrientation) ? PatientOrientation : []).map(one => directions[one[0]]);
  if (ImageOrientationPatient || !row || !column || row.some((one, axis) => one && column[axis])) return undefined;
  asking = true;
  try {
    const plane = metaData.get('imagePlaneModule', imageId);
    const cosines = { rowCosines: row, columnCosines: column, imageOrientationPatient: [...row, ...column] };
    const known = { isDefaultValueSetForRowCosine: false, isDefaultValueSetForColumnCosine: false };
    return plane && { ...plane, ...cosines, ...known };
  } finally {
    asking = false;
  }
}

// OHIF draws a measurement report (TID 1500) where it has coordinates, and shows nothing of one that refers to segments
// instead.  Such a report is shown as text, as OHIF shows every other template, what was found and measured first.
// Images and UIDs have no text that says something to a person.
const inside = item => [...(item.ContentSequence ?? [])];
const drawn = item => inside(item).some(one => one.ValueType.startsWith('SCOORD') || drawn(one));
const readable = item => item.ConceptNameCodeSequence && !['IMAGE', 'UIDREF'].includes(item.ValueType);
const late = item => item.ValueType !== 'CONTAINER' || item.ConceptNameCodeSequence.CodeValue === '111028'; // library
const told = item => ({ ...item, ContentSequence: inside(item).filter(readable).map(told) });
function asText(displaySet) {
  if (displaySet.Modality !== 'SR' || !displaySet.isImagingMeasurementReport || drawn(displaySet.instance)) return;
  displaySet.isImagingMeasurementReport = false;
  displaySet.instances = displaySet.instances.map(told);
  displaySet.instances.forEach(one => one.ContentSequence.sort((a, b) => late(a) - late(b)));
}

// OHIF reads parametric maps of 32 bit only, and draws stripes where one has 16.
function refused(displaySet) {
  const parametricMap = displaySet.SOPClassUID === '1.2.840.10008.5.1.4.1.1.30';
  displaySet.unsupported ||= parametricMap && displaySet.instance.BitsAllocated === 16;
}

// A token of dicomweb_tokens comes once, behind the # of the address, which no browser sends: /#token=...
function authorization() {
  const token = new URLSearchParams(window.location.hash.slice(1)).get('token');
  if (token) {
    sessionStorage.setItem('wetread-token', token); // until the tab is closed
    window.history.replaceState(null, '', window.location.pathname + window.location.search);
  }
  const known = sessionStorage.getItem('wetread-token');
  return known ? { Authorization: `Bearer ${known}` } : {};
}

let unsubscribe = () => {};
const wetread = {
  id: 'wetread',
  preRegistration: ({ servicesManager }) => {
    const header = authorization();
    servicesManager.services.userAuthenticationService.setServiceImplementation({ getAuthorizationHeader: () => header });
    window.cornerstone.metaData.addProvider(filmPlane, 10001);
  },
  onModeEnter: ({ servicesManager }) => {
    const { displaySetService } = servicesManager.services;
    const added = displaySetService.EVENTS.DISPLAY_SETS_ADDED;
    const seen = event => event.displaySetsAdded.forEach(one => [asText, refused].forEach(mend => mend(one)));
    ({ unsubscribe } = displaySetService.subscribe(added, seen));
  },
  onModeExit: () => unsubscribe(),
};

window.config = {
  extensions: [wetread],
  modes: [],
  showStudyList: true,
  investigationalUseDialog: { option: 'always' },
  defaultDataSourceName: 'wetread',
  httpErrorHandler: error => console.warn(error.status), // OHIF calls it unasked
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'wetread',
      configuration: {
        name: 'wetread',
        friendlyName: 'Wetread',
        qidoRoot: root,
        wadoRoot: root,
        imageRendering: 'wadors',
        thumbnailRendering: 'thumbnail',
        thumbnailRequestStrategy: 'fetch', // like every other request, with the token
        loadMultiframeAsPart10: false, // its reader expects an odd length of packed bits, which DICOM forbids
        enableStudyLazyLoad: true,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        qidoSupportsIncludeField: true,
        bulkDataURI: { enabled: true },
        singlepart: 'bulkdata', // a PDF is asked for like every other request, too
      },
    },
  ],
};
