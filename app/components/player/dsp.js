// Arithmetic on samples that only the eye and the ear need: a wide-band spectrogram of what is visible, half speed.

/** In-place FFT of a power of two (Cooley and Tukey 1965): real and imaginary parts. */
export function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i += 1) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let length = 2; length <= n; length *= 2) {
    const angle = (-2 * Math.PI) / length;
    for (let k = 0; k < length / 2; k += 1) {
      const c = Math.cos(angle * k);
      const s = Math.sin(angle * k);
      for (let i = k; i < n; i += length) {
        const j = i + length / 2;
        const x = re[j] * c - im[j] * s;
        const y = re[j] * s + im[j] * c;
        re[j] = re[i] - x;
        im[j] = im[i] - y;
        re[i] += x;
        im[i] += y;
      }
    }
  }
}

const WIDE_S = 0.005; // effective length of Praat's window for a wide-band picture; the Gaussian is twice as long

/** Levels in dB of the samples around `times` (seconds), (times, bins): a 5 ms Gaussian window, first differences before. */
export function wideLevels(samples, rate, times) {
  const length = Math.max(16, Math.round(2 * WIDE_S * rate));
  const size = 2 ** Math.ceil(Math.log2(2 * length));
  const nBins = size / 2 + 1;
  const window = Float64Array.from({ length }, (_, i) => Math.exp(-12 * ((i - (length - 1) / 2) / (length - 1)) ** 2));
  const levels = new Float32Array(times.length * nBins);
  const re = new Float64Array(size);
  const im = new Float64Array(size);
  times.forEach((time, column) => {
    re.fill(0);
    im.fill(0);
    const first = Math.round(time * rate - length / 2);
    for (let i = 0; i < length; i += 1) re[i] = window[i] * ((samples[first + i] ?? 0) - 0.97 * (samples[first + i - 1] ?? 0));
    fft(re, im);
    for (let f = 0; f < nBins; f += 1) levels[column * nBins + f] = 10 * Math.log10(re[f] ** 2 + im[f] ** 2 + 1e-3);
  });
  return { levels, nBins, binHz: rate / size };
}

/** The loudest level of a recording in that picture, dB: 400 looks, spread evenly. */
export function wideTop(samples, rate) {
  const times = Array.from({ length: 400 }, (_, i) => ((i + 0.5) / 400) * (samples.length / rate));
  let top = -Infinity;
  for (const v of wideLevels(samples, rate, times).levels) if (v > top) top = v;
  return top;
}

const GRAIN_S = 0.03;

/** Where each grain of a sound that is played at half speed is taken from (samples): every half grain a quarter further, moved
 * by up to a sixth so that it goes on from the grain before (WSOLA, Verhelst and Roelands 1993). */
export function stretchLags(samples, rate) {
  const grain = 2 * Math.round((GRAIN_S * rate) / 2);
  const half = grain / 2;
  const reach = Math.round(grain / 6);
  const lags = [0];
  for (let k = 1; k * half < 2 * samples.length; k += 1) {
    const goal = Math.round((k * half) / 2);
    const before = lags[k - 1] + half; // what would follow by itself
    let best = 0;
    let most = -Infinity;
    for (let move = -reach; move <= reach; move += 1) {
      let like = 0;
      for (let i = 0; i < half; i += 3) like += (samples[before + i] ?? 0) * (samples[goal + move + i] ?? 0);
      if (like > most) [most, best] = [like, move];
    }
    lags.push(goal + best);
  }
  return lags;
}

/** A sound twice as long at the same pitch: grains from `lags`, faded into each other. */
export function stretched(samples, rate, lags) {
  const grain = 2 * Math.round((GRAIN_S * rate) / 2);
  const half = grain / 2;
  const out = new Float32Array(2 * samples.length);
  lags.forEach((from, k) => {
    const at = k * half;
    for (let i = 0; i < grain && at + i < out.length; i += 1) {
      const fade = k === 0 && i < half ? 1 : Math.sin((Math.PI * (i + 0.5)) / grain) ** 2;
      out[at + i] += fade * (samples[from + i] ?? 0);
    }
  });
  return out;
}
