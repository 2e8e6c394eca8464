// The payload: one block of bytes with a JSON header, so that audio and pictures travel inside the component's data.

/** Read the container: "SXP1", header length (uint32, little endian), header, then blobs at offsets from its end. */
export function unpack(bytes) {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = String.fromCharCode(bytes[0], bytes[1], bytes[2], bytes[3]);
  if (magic !== "SXP1") throw new Error(`The player's data begin with '${magic}' where 'SXP1' was expected.`);
  const length = data.getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const base = 8 + length;
  const blob = ([offset, size]) => bytes.subarray(base + offset, base + offset + size);
  const aligned = (span) => blob(span).slice().buffer; // numbers of several bytes must begin where their size allows
  const level = pyramid(blob(header.level), header.n_frames, header.n_bins);
  const maps = header.maps.map((map) => {
    const codes = blob(map.blob);
    const against = map.against ? pyramid(blob(map.against), header.n_frames, header.n_bins) : null;
    return { ...map, levels: pyramid(codes, header.n_frames, header.n_bins), against, histogram: histogram(codes) };
  });
  const sounds = header.sounds.map((sound) => ({ ...sound, samples: new Int16Array(aligned(sound.blob)) }));
  const voicing = blob(header.voicing);
  const f0 = new Float32Array(aligned(header.f0));
  const formants = header.formants ? new Float32Array(aligned(header.formants)) : null;
  return { header, level, maps, sounds, voicing, f0, formants };
}

/** Count of each code 0..255. */
export function histogram(codes) {
  const counts = new Uint32Array(256);
  for (let i = 0; i < codes.length; i += 1) counts[codes[i]] += 1;
  return counts;
}

/** Frames (T, F) at full resolution, then maxima over 2, 4, 8 ... frames, so that no bright frame is lost when zoomed out. */
export function pyramid(codes, nFrames, nBins) {
  const levels = [{ codes, n: nFrames }];
  while (levels[levels.length - 1].n > 256) {
    const { codes: fine, n } = levels[levels.length - 1];
    const half = Math.ceil(n / 2);
    const coarse = new Uint8Array(half * nBins);
    for (let t = 0; t < half; t += 1) {
      const a = 2 * t * nBins;
      const b = Math.min(2 * t + 1, n - 1) * nBins;
      const c = t * nBins;
      for (let f = 0; f < nBins; f += 1) coarse[c + f] = fine[a + f] > fine[b + f] ? fine[a + f] : fine[b + f];
    }
    levels.push({ codes: coarse, n: half });
  }
  return levels;
}

/** Share of the shown evidence (codes of at least `map.least`) that lies in a region {start, end, low, high}; 0 where none is shown. */
export function evidenceIn(model, map, region) {
  const { n_frames: nFrames, n_bins: nBins, bin_hz: binHz, frame_rate_hz: rate } = model.header;
  const { codes } = map.levels[0];
  let part = 0;
  let whole = 0;
  for (let t = 0, i = 0; t < nFrames; t += 1) {
    const inside = t >= region.start * rate && t <= region.end * rate;
    for (let f = 0; f < nBins; f += 1, i += 1) {
      if (codes[i] < map.least) continue;
      const v = (codes[i] / 255) ** 2;
      whole += v;
      if (inside && (region.low == null || (f * binHz >= region.low && f * binHz <= region.high))) part += v;
    }
  }
  return whole > 0 ? part / whole : 0;
}

/** Sums over what is shown: per frame and per band, of evidence (codes at least `least`) and of the energy control. */
export function sums(model, map, least, bands, span) {
  const { n_frames: nFrames, n_bins: nBins, bin_hz: binHz, frame_rate_hz: rate } = model.header;
  const evidence = map.levels[0].codes;
  const level = model.level[0].codes;
  const overFrames = new Float32Array(nFrames);
  const shown = new Uint32Array(nFrames);
  const byBin = new Float64Array(nBins);
  const energyByBin = new Float64Array(nBins);
  const value = Float64Array.from({ length: 256 }, (_, code) => (code >= least ? (code / 255) ** 2 : 0));
  const energy = Float64Array.from(model.header.energy);
  const first = span ? Math.max(0, Math.round(span.start * rate)) : 0;
  const last = span ? Math.min(nFrames - 1, Math.round(span.end * rate)) : nFrames - 1;
  for (let t = 0; t < nFrames; t += 1) {
    const inside = t >= first && t <= last;
    let sum = 0;
    let count = 0;
    for (let f = 0, i = t * nBins; f < nBins; f += 1, i += 1) {
      const v = value[evidence[i]];
      if (v > 0) {
        sum += v;
        count += 1;
        if (inside) byBin[f] += v;
      }
      if (inside) energyByBin[f] += energy[level[i]];
    }
    overFrames[t] = sum;
    shown[t] = count;
  }
  const share = (array, low, high) => {
    let part = 0;
    let whole = 0;
    array.forEach((v, f) => {
      whole += v;
      if (f * binHz >= low && f * binHz < high) part += v;
    });
    return whole > 0 ? part / whole : 0;
  };
  return {
    overFrames,
    shown,
    bands: bands.map((b) => ({ ...b, share: share(byBin, b.low, b.high), energy: share(energyByBin, b.low, b.high) })),
  };
}
