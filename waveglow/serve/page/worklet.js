// Runs beside the sound card: plays what the page hands it, sample by sample, and says how far it is.
const RAMP = 64; // samples by which a gap begins and ends, so that it doesn't click

class Stream extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.pieces = []; // all that came: Float32Array
    this.lead = processorOptions.lead; // samples that must wait before the first is heard, and after a gap
    this.received = this.heard = this.gaps = 0;
    this.piece = this.at = 0; // the next sample
    this.playing = this.ended = this.done = false;
    this.last = 0; // value that a gap fades from
    this.fade = 0; // samples of fading in that are left
    this.blocks = 0;
    this.port.onmessage = ({ data }) => this.told(data);
  }

  told(data) {
    if (data.piece) {
      this.pieces.push(data.piece);
      this.received += data.piece.length;
    }
    if (data.end) this.ended = true;
    if (data.dump) this.port.postMessage({ dump: this.joined() });
  }

  joined() {
    const all = new Float32Array(this.received);
    let at = 0;
    for (const piece of this.pieces) {
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }

  next() {
    while (this.piece < this.pieces.length && this.at === this.pieces[this.piece].length) {
      this.piece++;
      this.at = 0;
    }
    return this.piece < this.pieces.length ? this.pieces[this.piece][this.at++] : null;
  }

  process(_, [[out]]) {
    const waiting = this.received - this.heard;
    if (!this.playing && waiting > 0 && (waiting >= this.lead || this.ended)) {
      this.playing = true;
      this.fade = this.heard ? RAMP : 0; // after a gap; the beginning of the sound is as it is
    }
    for (let i = 0; i < out.length; i++) {
      const sample = this.playing ? this.next() : null;
      if (sample === null) {
        if (this.playing) {
          this.playing = false;
          if (!this.ended) this.gaps++;
        }
        this.last *= 1 - 1 / RAMP * 4;
        out[i] = this.last;
        continue;
      }
      this.heard++;
      this.last = out[i] = this.fade ? sample * (1 - --this.fade / RAMP) : sample;
    }
    if (this.ended && this.heard === this.received && !this.done) this.done = true;
    else if (++this.blocks % 8) return true;
    this.port.postMessage({ heard: this.heard, received: this.received, gaps: this.gaps, done: this.done });
    return true;
  }
}
registerProcessor('stream', Stream);
