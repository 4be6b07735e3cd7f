// Where bundles come from in a browser.

/** Reads a bundle's files below a URL; null where there is none of that name. */
export function fromUrl(base) {
  return async (name) => {
    const answer = await fetch(`${base}/${name.split('/').map(encodeURIComponent).join('/')}`);
    if (answer.status === 404) return null;
    if (!answer.ok) throw new Error(`${name} cannot be read (HTTP ${answer.status})`);
    return new Uint8Array(await answer.arrayBuffer());
  };
}

/** The same from a directory the user chose. */
export function fromDirectory(files) {
  return async (name) => {
    const file = [...files].find((one) => one.webkitRelativePath.split('/').slice(1).join('/') === name);
    return file ? new Uint8Array(await file.arrayBuffer()) : null;
  };
}
