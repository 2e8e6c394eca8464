// Color tables: perceptually uniform and readable with every color vision (viridis, magma, cividis: CC0, van der Walt
// and Smith 2015; Nunez et al. 2018). Stored at 33 places, interpolated between; a test compares them with matplotlib's.
const PLACES = {
  viridis: "440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e2c728e297a8e26828e23898e21918c1f978b1f9f8821a68527ad8131b57b3dbc744cc26c5cc8636ece5881d34d95d840aadc32c0df25d5e21aeae51afde725",
  magma: "0000040303120a0822130d341d114729115a36106b440f7651127c5d177f6a1c81762181832681902a819c2e7faa337db73779c23b75cf4070db476ae55064ee5b5ef4695cf9785dfb8761fd9668fea571feb47bfec287fed194fde0a1fceeb0fcfdbf",
  cividis: "00224e00285b002e6a0533711a386f273e6e32436d3b496c434e6c4b546c535a6d5a5f6e61656f686a716f70737676767d7c788381798b8778928d789a9376a29975aaa073b3a670bbad6dc3b369ccba64d4c15fddc858e6d051efd748f8df3cfee838",
};

/** Names of the color schemes, in the order in which the key C walks through them. */
export const SCHEMES = ["gray", "viridis", "magma", "cividis"];

/** One color table as 256 triplets (768 numbers 0..255). "gray" is black on white, as phoneticians print spectrograms. */
export function colorTable(name) {
  const table = new Uint8ClampedArray(768);
  const places = PLACES[name];
  for (let i = 0; i < 256; i += 1) {
    for (let c = 0; c < 3; c += 1) {
      if (!places) {
        table[3 * i + c] = 252 - (i / 255) ** 1.15 * 226;
        continue;
      }
      const at = (i / 255) * 32;
      const low = Math.min(31, Math.floor(at));
      const value = (k) => parseInt(places.slice(6 * k + 2 * c, 6 * k + 2 * c + 2), 16);
      table[3 * i + c] = value(low) + (at - low) * (value(low + 1) - value(low));
    }
  }
  return table;
}

/** Color of evidence against the class: apart from that of the evidence for it with every color vision. */
export function againstColor(scheme) {
  return { gray: [0, 92, 190], viridis: [255, 255, 255], magma: [255, 255, 255], cividis: [120, 255, 255] }[scheme];
}

/** Color of the evidence over a scheme: one hue that stands apart from it in brightness and in hue. */
export function evidenceColor(scheme) {
  return { gray: [213, 78, 0], viridis: [255, 96, 64], magma: [64, 224, 208], cividis: [255, 70, 110] }[scheme];
}
