// Three sounds that play in step: one switch fades between them without losing the place.
import { clampSeek, playhead } from "./axis.js";
import { stretched, stretchLags } from "./dsp.js";

const FADE_S = 0.012; // shorter clicks, longer smears consonants

export class Sound {
  constructor(onEnd) {
    this.context = null;
    this.sources = [];
    this.gains = [];
    this.samples = [];
    this.rate = 16000;
    this.duration = 0;
    this.offset = 0;
    this.startedAt = 0;
    this.playing = false;
    this.chosen = 0;
    this.loop = null;
    this.slow = false;
    this.volume = 1;
    this.onEnd = onEnd;
  }

  /** Seconds of the recording that pass in one second. */
  get speed() {
    return this.slow ? 0.5 : 1;
  }

  /** Half speed at the same pitch; the place is kept. */
  setSlow(slow) {
    const at = this.position();
    const wasPlaying = this.playing;
    this.halt();
    this.slow = slow;
    this.buffers = null;
    this.offset = at;
    if (wasPlaying) this.play();
  }

  setVolume(volume) {
    this.volume = volume;
    this.loudness?.gain.setTargetAtTime(volume, this.context.currentTime, FADE_S / 3);
  }

  /** Take new samples; while playing, go on from the same place with them. */
  load(sounds, rate, duration, keepPlace) {
    const at = keepPlace ? this.position() : 0;
    const wasPlaying = keepPlace && this.playing;
    this.halt();
    if (this.context && rate !== this.rate) {
      this.context.close();
      this.context = null;
    }
    this.samples = sounds;
    this.lags = null;
    this.rate = rate;
    this.duration = duration;
    this.buffers = null;
    this.offset = clampSeek(at, duration);
    if (this.chosen >= sounds.length) this.chosen = 0;
    if (wasPlaying) this.play();
  }

  /** Begin at the current place. Needs a user's gesture the first time, as browsers demand. */
  play() {
    if (!this.samples.length) return;
    // At the recording's own rate the samples pass unchanged to the browser's resampler.
    this.context ??= new AudioContext({ sampleRate: this.rate, latencyHint: "interactive" });
    this.context.resume();
    // One set of lags for all sounds: they stay in step at half speed as well.
    if (this.slow) this.lags ??= stretchLags(this.samples[0].samples, this.rate);
    this.buffers ??= this.samples.map((sound) => {
      const samples = this.slow ? stretched(sound.samples, this.rate, this.lags) : sound.samples;
      const buffer = this.context.createBuffer(1, samples.length, this.rate);
      const channel = buffer.getChannelData(0);
      for (let i = 0; i < channel.length; i += 1) channel[i] = samples[i] / 32768;
      return buffer;
    });
    if (this.loudness?.context !== this.context) {
      this.loudness = this.context.createGain();
      this.loudness.connect(this.context.destination);
    }
    this.loudness.gain.value = this.volume;
    this.halt();
    if (this.offset >= this.duration - 0.005) this.offset = this.loop ? this.loop.start : 0;
    if (this.loop && (this.offset < this.loop.start || this.offset >= this.loop.end)) this.offset = this.loop.start;
    const when = this.context.currentTime + 0.02;
    this.gains = this.buffers.map((_, i) => {
      const gain = this.context.createGain();
      gain.gain.value = i === this.chosen ? 1 : 0;
      gain.connect(this.loudness);
      return gain;
    });
    this.sources = this.buffers.map((buffer, i) => {
      const source = this.context.createBufferSource();
      source.buffer = buffer;
      const { speed } = this;
      if (this.loop) Object.assign(source, { loop: true, loopStart: this.loop.start / speed, loopEnd: this.loop.end / speed });
      source.connect(this.gains[i]);
      source.start(when, this.offset / speed);
      return source;
    });
    const first = this.sources[0];
    first.onended = () => {
      if (this.sources[0] !== first || !this.playing) return;
      this.halt();
      this.offset = this.duration;
      this.onEnd();
    };
    this.startedAt = when;
    this.playing = true;
  }

  pause() {
    this.offset = this.position();
    this.halt();
  }

  seek(time) {
    const wasPlaying = this.playing;
    this.halt();
    this.offset = clampSeek(time, this.duration);
    if (wasPlaying) {
      // A place outside the loop is a wish to leave it.
      if (this.loop && (this.offset < this.loop.start || this.offset >= this.loop.end)) this.loop = null;
      this.play();
    }
  }

  setLoop(loop) {
    const at = this.position();
    this.loop = loop;
    this.offset = at;
    if (this.playing) this.play();
  }

  choose(index) {
    if (index < 0 || index >= this.samples.length) return;
    this.chosen = index;
    const now = this.context?.currentTime ?? 0;
    this.gains.forEach((gain, i) => gain.gain.setTargetAtTime(i === index ? 1 : 0, now, FADE_S / 3));
  }

  /** The place that is heard at this moment, seconds: what has left the loudspeaker, not what has been computed. */
  position() {
    if (!this.playing) return this.offset;
    const elapsed = Math.max(0, this.audible() - this.startedAt);
    return playhead(this.offset, elapsed, this.duration, this.loop, this.speed);
  }

  audible() {
    const now = this.context.currentTime;
    const stamp = this.context.getOutputTimestamp?.();
    if (stamp && stamp.performanceTime > 0) {
      const heard = stamp.contextTime + (performance.now() - stamp.performanceTime) / 1000;
      if (Math.abs(heard - now) < 0.3) return heard;
    }
    return now - (this.context.outputLatency || 0);
  }

  halt() {
    for (const source of this.sources) {
      source.onended = null;
      source.stop();
      source.disconnect();
    }
    this.gains.forEach((gain) => gain.disconnect());
    this.sources = [];
    this.gains = [];
    this.playing = false;
  }

  close() {
    this.halt();
    this.context?.close();
    this.context = null;
  }
}
