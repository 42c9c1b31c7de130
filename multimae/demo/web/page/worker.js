// The page's backend where there is no server: gomae as WebAssembly.
'use strict';
importScripts('wasm_exec.js');

async function bytes(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(name + ': ' + response.status + ' ' + response.statusText);
  return new Uint8Array(await response.arrayBuffer());
}

// packed is bytes of a file that is compressed by gzip. Its name does not say so, because hosts treat
// names in .gz in several ways.
async function packed(name) {
  const stream = new Blob([await bytes(name)]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const ready = (async () => {
  const go = new Go();
  const [program, ...files] = await Promise.all([packed('gomae.wasm.packed'), bytes('model/config.json'), bytes('model/model.safetensors'), bytes('model/page.json')]);
  const { instance } = await WebAssembly.instantiate(program, go.importObject);
  go.run(instance); // sets gomae and waits for calls
  await globalThis.gomae.load(...files);
})();

onmessage = async ({ data: { id, name, body } }) => {
  try {
    await ready;
    postMessage({ id, answer: await globalThis.gomae.call(name, body) });
  } catch (e) {
    postMessage({ id, error: e.message || String(e) });
  }
};
