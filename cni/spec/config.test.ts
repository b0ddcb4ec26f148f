import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  decodeConfig,
  decodeInput,
  previousResult,
  refuseUnsupported,
  requireVersion,
  validAttachments,
} from './config.ts';
import { CNI_CODE, CniError, encodeError, type CniCode } from './error.ts';

const BASE = { cniVersion: '1.0.0', name: 'weir', type: 'weir-cni' };
const config = (more: Record<string, unknown> = {}) => decodeConfig(decodeInput(JSON.stringify({ ...BASE, ...more })));

const fails = (code: CniCode, text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof CniError, String(error));
  assert.equal(error.code, code);
  assert.match(`${error.message}\n${error.details}`, text);
  return true;
};

test('a plain configuration has the defaults', () => {
  const { fields: _, ...known } = config();
  assert.deepEqual(known, {
    cniVersion: '1.0.0',
    name: 'weir',
    socket: undefined,
    deleteQueue: undefined,
    timeoutMs: 60_000,
    logFile: undefined,
  });
});

test('the settings of the plugin are read; null and unknown fields are as if absent', () => {
  const { fields: _, ...known } = config({
    socket: '/a/b.sock',
    'delete-queue': '/q',
    timeout: 5,
    'log-file': null,
    future: { x: 1 },
  });
  assert.deepEqual(known, {
    cniVersion: '1.0.0',
    name: 'weir',
    socket: '/a/b.sock',
    deleteQueue: '/q',
    timeoutMs: 5000,
    logFile: undefined,
  });
});

test('what is not a JSON object cannot be decoded', () => {
  for (const [text, why] of [
    ['', /stdin is empty/],
    ['  \n', /stdin is empty/],
    ['{"cniVersion":', /JSON/],
    ['null', /it is null/],
    ['[]', /it is \[\]/],
    ['"x"', /not an object/],
  ] as const) {
    assert.throws(() => decodeInput(text), fails(CNI_CODE.decodingFailure, why), text);
  }
});

test('a version that is absent, older or newer is incompatible', () => {
  for (const cniVersion of [undefined, '', '0.1.0', '0.2.0', '0.3.0', '2.0.0', '1.0']) {
    const supported = /supports 0\.3\.1, 0\.4\.0, 1\.0\.0, 1\.1\.0/;
    assert.throws(() => config({ cniVersion }), fails(CNI_CODE.incompatibleVersion, supported), cniVersion);
  }
});

test('a wrong field is named with its value and what is expected', () => {
  for (const [more, why] of [
    [{ cniVersion: 1 }, /cniVersion is 1\ncniVersion must be a text/],
    [{ name: undefined }, /name is absent/],
    [{ name: '../x' }, /name is "\.\.\/x"/],
    [{ socket: 'weir.sock' }, /socket is "weir\.sock"\nsocket must be an absolute path/],
    [{ timeout: 0 }, /timeout is 0\ntimeout must be a whole number from 1 to 600/],
    [{ timeout: '5' }, /timeout is "5"/],
    [{ 'log-file': {} }, /log-file is \{\}/],
  ] as const) {
    assert.throws(() => config(more), fails(CNI_CODE.invalidConfig, why), JSON.stringify(more));
  }
});

test('an IPAM plugin and a place behind another plugin are refused', () => {
  const ipam = config({ ipam: { type: 'host-local' } });
  assert.throws(() => refuseUnsupported(ipam), fails(CNI_CODE.unsupportedField, /ipam\.type is "host-local"/));
  const chained = config({ prevResult: { cniVersion: '1.0.0' } });
  assert.throws(
    () => refuseUnsupported(chained),
    fails(CNI_CODE.unsupportedField, /prevResult is \{"cniVersion":"1\.0/),
  );
  refuseUnsupported(config({ ipam: {}, prevResult: null }));
});

test('a command is refused by versions that do not know it', () => {
  const old = config({ cniVersion: '0.3.1' });
  assert.throws(
    () => requireVersion(old, 'CHECK', '0.4.0'),
    fails(CNI_CODE.incompatibleVersion, /0\.3\.1 has no .*CHECK/),
  );
  assert.throws(() => requireVersion(config(), 'GC', '1.1.0'), fails(CNI_CODE.incompatibleVersion, /GC came with/));
  requireVersion(config({ cniVersion: '1.1.0' }), 'CHECK', '0.4.0');
});

test('prevResult is decoded in the form of every version', () => {
  const interfaces = [
    { name: 'wr1', mac: 'a' },
    { name: 'eth0', sandbox: '/n', mtu: 1500, socketPath: '' },
  ];
  const old = { interfaces, ips: [{ version: '4', address: '10.0.0.2/32', interface: 1 }], dns: { domain: 'x' } };
  assert.deepEqual(previousResult(config({ cniVersion: '0.3.1', prevResult: old })), {
    interfaces: [
      { name: 'wr1', mac: 'a' },
      { name: 'eth0', sandbox: '/n', mtu: 1500 },
    ],
    ips: [{ address: '10.0.0.2/32', interface: 1 }],
    routes: [],
    dns: { domain: 'x' },
  });
});

test('an absent or malformed prevResult is an error', () => {
  for (const [prevResult, why] of [
    [undefined, /prevResult is absent/],
    [[], /prevResult is \[\]/],
    [{ interfaces: {} }, /prevResult\.interfaces is \{\}/],
    [{ interfaces: [7] }, /prevResult\.interfaces\[0\] is 7/],
    [{ interfaces: [{}] }, /prevResult\.interfaces\[0\]\.name is absent/],
    [{ ips: [{ address: '10.0.0.1/32', interface: 0 }] }, /prevResult\.ips\[0\]\.interface is 0/],
    [{ dns: { nameservers: [1] } }, /prevResult\.dns\.nameservers\[0\] is 1/],
  ] as const) {
    assert.throws(() => previousResult(config({ prevResult })), fails(CNI_CODE.invalidConfig, why));
  }
});

test('valid attachments: an absent list is an error, an empty one is not', () => {
  const key = 'cni.dev/valid-attachments';
  assert.throws(() => validAttachments(config()), fails(CNI_CODE.invalidConfig, /valid-attachments is absent/));
  assert.deepEqual(validAttachments(config({ [key]: [] })), []);
  assert.deepEqual(validAttachments(config({ [key]: [{ containerID: 'a', ifname: 'eth0' }] })), [
    { containerId: 'a', ifName: 'eth0' },
  ]);
  const wrong = config({ [key]: [{ containerID: 'a' }] });
  assert.throws(() => validAttachments(wrong), fails(CNI_CODE.invalidConfig, /\[0\]\.ifname is absent/));
});

test('an error is told in the version of the configuration, with code, msg and details', () => {
  const error = new CniError(CNI_CODE.invalidConfig, 'what', 'why');
  assert.deepEqual(JSON.parse(encodeError(error, '0.4.0')), {
    cniVersion: '0.4.0',
    code: 7,
    msg: 'what',
    details: 'why',
  });
  assert.equal((JSON.parse(encodeError(error, undefined)) as { cniVersion: string }).cniVersion, '1.1.0');
});
