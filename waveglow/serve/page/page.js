// The page of `waveglow serve`: three tabs over its calls. No library, no build step, nothing from elsewhere.

const $ = id => document.getElementById(id);
const MAX_SECONDS = 30;
const WINDOW_SECONDS = 0.1; // of the likelihood's steps
const STEPS = [0, 1, 2, 4, 8, 16, 32, 64]; // of refinement, on its slider
const SWITCH_SECONDS = 0.012; // from one sound to the other: too short to be heard as a fade, too long to click
const FRAMES_A_MESSAGE = 10;
const LEAD_SECONDS = 0.2; // of a stream that wait before it is heard

// ---- What is said ----------------------------------------------------------------------------------------------

/** A sentence for whoever listens to the page. */
function say(text) { $('said').textContent = text; }

/** What went wrong, in a sentence. */
function warn(error) {
  if (error.name === 'AbortError') return;
  $('alert').firstElementChild.textContent = error.message;
  $('alert').hidden = false;
}
function fine() { $('alert').hidden = true; }
$('alert').lastElementChild.addEventListener('click', fine);

/** Runs what a person asked for; a failure is said, never thrown. */
function doing(act) {
  return async (...given) => {
    try { fine(); return await act(...given); } catch (error) { warn(error); }
  };
}

// ---- The server --------------------------------------------------------------------------------------------------

let token = sessionStorage.getItem('token') || '';

function askForToken() {
  const dialog = $('token');
  if (!dialog.open) dialog.showModal();
  return new Promise(resolve => dialog.addEventListener('close', () => {
    token = $('token-value').value.trim();
    sessionStorage.setItem('token', token);
    resolve();
  }, { once: true }));
}

/** The answer of a call; an Error with the server's own sentence where it refuses. */
async function call(path, { body, type = 'audio/wav', signal } = {}) {
  const headers = body === undefined ? {} : { 'Content-Type': type };
  if (token) headers.Authorization = `Bearer ${token}`;
  let answer;
  try {
    answer = await fetch(path, { method: body === undefined ? 'GET' : 'POST', body, headers, signal });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Error("The server doesn't answer; does `waveglow serve` still run?");
  }
  if (answer.ok) return answer;
  if (answer.status === 401) {
    await askForToken();
    return call(path, { body, type, signal });
  }
  const { message = `status ${answer.status}` } = await answer.json().catch(() => ({}));
  const wait = answer.headers.get('Retry-After');
  const said = answer.status === 429 ? `The server is busy: ${message}${wait ? ` (in ${wait} s)` : ''}.` : sentence(message);
  throw Object.assign(new Error(said), { status: answer.status });
}
const sentence = text => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?)]$/.test(text) ? '' : '.');
const posted = async (path, content, signal) =>
  (await call(path, { body: JSON.stringify(content), type: 'application/json', signal })).json();

/** Only the newest of several requests counts: `signal` is aborted when the next begins. */
class Newest {
  begin() { this.end(); this.control = new AbortController(); return this.control.signal; }
  end() { this.control?.abort(); }
}

// ---- Sound -------------------------------------------------------------------------------------------------------

let model = { name: '', sample_rate: 22050, hop: 256, mel: { n_mels: 80 } };
let context = null;
/** The one AudioContext, at the model's rate, which browsers start only after a click or a key. */
function audio() {
  context ||= new AudioContext({ sampleRate: model.sample_rate });
  return context;
}

/** Mono samples at the model's rate, of any file that the browser plays. */
async function decoded(bytes) {
  let buffer;
  try {
    buffer = await new OfflineAudioContext(1, 1, model.sample_rate).decodeAudioData(bytes.slice(0));
  } catch {
    throw new Error("This is no sound that the browser can read; give WAV, FLAC, MP3, Ogg or M4A.");
  }
  const mono = new Float32Array(buffer.length);
  for (let c = 0; c < buffer.numberOfChannels; c++) {
    const channel = buffer.getChannelData(c);
    for (let i = 0; i < mono.length; i++) mono[i] += channel[i] / buffer.numberOfChannels;
  }
  return mono;
}

/** A WAV file of 32-bit floats, or of 16-bit integers. */
function wavFile(samples, rate, bits = 32) {
  const width = bits / 8, view = new DataView(new ArrayBuffer(44 + width * samples.length));
  const word = (at, text) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  word(0, 'RIFF'); view.setUint32(4, 36 + width * samples.length, true); word(8, 'WAVEfmt ');
  view.setUint32(16, 16, true); view.setUint16(20, bits === 32 ? 3 : 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, rate * width, true);
  view.setUint16(32, width, true); view.setUint16(34, bits, true);
  word(36, 'data'); view.setUint32(40, width * samples.length, true);
  for (let i = 0; i < samples.length; i++) {
    if (bits === 32) view.setFloat32(44 + 4 * i, samples[i], true);
    else view.setInt16(44 + 2 * i, Math.max(-32768, Math.min(32767, Math.round(samples[i] * 32768))), true);
  }
  return view.buffer;
}

/** Samples of little-endian 16-bit integers. */
function fromPcm(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.byteLength >> 1 }, (_, i) => view.getInt16(2 * i, true) / 32768);
}

/** What a file is called that goes to the server as it is; undefined for one that must be decoded here. */
function soundType(bytes) {
  const head = new TextDecoder('latin1').decode(bytes.slice(0, 12));
  if (head.startsWith('fLaC')) return 'audio/flac';
  return head.startsWith('RIFF') && head.endsWith('WAVE') ? 'audio/wav' : undefined;
}

/** The array of a .npy file: {shape, data}. */
function fromNpy(buffer) {
  const view = new DataView(buffer), long = view.getUint8(6) > 1;
  const start = long ? 12 : 10, length = long ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder().decode(new Uint8Array(buffer, start, length));
  const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(',').map(s => s.trim()).filter(Boolean).map(Number);
  return { shape, data: new Float32Array(buffer.slice(start + length)) };
}

const melOf = async (body, signal) => {
  const { shape: [bands, frames], data } = fromNpy(await (await call('/v1/mel', { body, type: soundType(body), signal })).arrayBuffer());
  return { bands, frames, data }; // data[band * frames + frame]
};

/** Two sounds that play in step, of which one is heard. */
class Player {
  constructor(context = audio) {
    this.context = context;
    this.sounds = { a: null, b: null };
    this.heard = 'a';
    this.at = 0; // seconds, while it rests
    this.loop = true;
    this.nodes = null;
  }

  get seconds() { return this.sounds.a ? this.sounds.a.length / model.sample_rate : 0; }
  get playing() { return this.nodes !== null; }
  get position() {
    if (!this.playing) return this.at;
    const since = Math.max(0, this.context().currentTime - this.nodes.began);
    return this.loop ? since % this.seconds : Math.min(since, this.seconds);
  }

  async play() {
    const from = this.at >= this.seconds - 0.01 ? 0 : this.at;
    await this.context().resume();
    this.start(from);
  }

  start(from) {
    const when = this.context().currentTime + 0.02, gains = {};
    this.stopNodes();
    const sources = Object.entries(this.sounds).filter(([, samples]) => samples).map(([key, samples]) => {
      const buffer = this.context().createBuffer(1, this.sounds.a.length, model.sample_rate);
      buffer.copyToChannel(samples.subarray(0, buffer.length), 0);
      const source = new AudioBufferSourceNode(this.context(), { buffer, loop: this.loop });
      gains[key] = new GainNode(this.context(), { gain: key === this.heard ? 1 : 0 });
      source.connect(gains[key]).connect(this.context().destination);
      source.start(when, from);
      return source;
    });
    this.nodes = { sources, gains, began: when - from };
    sources[0].onended = () => { if (this.nodes?.sources === sources) { this.at = this.seconds; this.nodes = null; changed(); } };
    changed();
  }

  pause() { this.at = this.position; this.stopNodes(); changed(); }
  stopNodes() {
    for (const source of this.nodes?.sources ?? []) { source.onended = null; source.stop(); source.disconnect(); }
    this.nodes = null;
  }

  seek(seconds) {
    this.at = Math.max(0, Math.min(seconds, this.seconds));
    if (this.playing) this.start(this.at);
    changed();
  }

  /** Hear the other one, from the same place on. */
  hear(which) {
    if (!this.sounds[which]) return;
    this.heard = which;
    const now = this.nodes ? this.context().currentTime : 0;
    for (const [key, { gain }] of Object.entries(this.nodes?.gains ?? {})) {
      gain.cancelScheduledValues(now);
      gain.setValueAtTime(gain.value, now);
      gain.linearRampToValueAtTime(key === which ? 1 : 0, now + SWITCH_SECONDS);
    }
    changed();
  }

  /** Put in a sound; what plays goes on with it. */
  put(key, samples) {
    const from = this.position;
    this.sounds[key] = samples;
    if (this.playing) this.start(Math.min(from, this.seconds));
    changed();
  }
}

// ---- Pictures of sound ---------------------------------------------------------------------------------------------

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** A canvas at the screen's own resolution: its 2D context, width and height in CSS pixels. */
function drawing(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas, scale = devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const g = canvas.getContext('2d');
  g.scale(scale, scale);
  return { g, width, height };
}

function drawWave(canvas, samples, ink, { length = samples?.length, peak = 1 } = {}) {
  const { g, width, height } = drawing(canvas);
  g.fillStyle = ink;
  g.globalAlpha = 0.35;
  g.fillRect(0, height / 2 - 0.5, width, 1);
  g.globalAlpha = 1;
  if (!samples?.length) return;
  const steps = Math.max(1, Math.round(width * 2)), each = length / steps;
  for (let x = 0; x < steps; x++) {
    let low = 0, high = 0;
    for (let i = Math.floor(x * each); i < Math.min((x + 1) * each, samples.length); i++) {
      if (samples[i] < low) low = samples[i];
      if (samples[i] > high) high = samples[i];
    }
    const top = height / 2 * (1 - high / peak), bottom = height / 2 * (1 - low / peak);
    if (high > low) g.fillRect(x / 2, top, 0.6, Math.max(0.5, bottom - top));
  }
}

const MAGMA = [[0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122], [229, 80, 100], [251, 135, 97], [254, 194, 135], [252, 253, 191]];
const mixed = (table, at) => {
  const x = Math.max(0, Math.min(1, at)) * (table.length - 1), i = Math.min(table.length - 2, Math.floor(x));
  return table[i].map((value, c) => value + (x - i) * (table[i + 1][c] - value));
};
const parsed = hex => [1, 3, 5].map(i => parseInt(hex.length === 4 ? hex[(i + 1) / 2].repeat(2) : hex.slice(i, i + 2), 16));
/** From one colour through that of the background to another: how much less or more. */
const diverging = () => [parsed(colour('b')), parsed(colour('fill')), parsed(colour('a'))];

/** A grid of values from 0 to 1 as a picture, each of them a pixel; NaN is none. */
function pixelsOf(columns, rows, value, table) {
  const image = new ImageData(columns, rows);
  for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) {
    const at = value(x, y);
    image.data.set(Number.isNaN(at) ? [0, 0, 0, 0] : [...mixed(table, at), 255], 4 * (y * columns + x));
  }
  const small = new OffscreenCanvas(columns, rows);
  small.getContext('2d').putImageData(image, 0, 0);
  return small;
}

function drawGrid(canvas, columns, rows, value, table) {
  const { g, width, height } = drawing(canvas);
  if (columns && rows) g.drawImage(pixelsOf(columns, rows, value, table), 0, 0, width, height);
}

function drawMel(canvas, mel, [low, high]) {
  drawGrid(canvas, mel?.frames ?? 0, mel?.bands ?? 0, (x, y) => (mel.data[(mel.bands - 1 - y) * mel.frames + x] - low) / (high - low), MAGMA);
}

/** Values over time as steps, with the lowest and the highest named. */
function drawSteps(canvas, values, ink, unit) {
  const { g, width, height } = drawing(canvas);
  if (!values.length) return;
  const low = Math.min(0, ...values), high = Math.max(...values), head = 18, foot = 3;
  const y = value => height - foot - (value - low) / (high - low || 1) * (height - head - foot);
  const step = width / values.length;
  g.beginPath();
  values.forEach((value, i) => { g.lineTo(i * step, y(value)); g.lineTo((i + 1) * step, y(value)); });
  g.strokeStyle = ink;
  g.lineWidth = 1.75;
  g.stroke();
  g.lineTo(width, y(low)); g.lineTo(0, y(low)); g.closePath();
  g.globalAlpha = 0.16; g.fillStyle = ink; g.fill(); g.globalAlpha = 1;
  g.fillStyle = colour('soft');
  g.font = '11px system-ui, sans-serif';
  g.fillText(`up to ${high.toFixed(0)} ${unit}`, 6, 13);
}

// ---- Voice ---------------------------------------------------------------------------------------------------------

const player = new Player();
export const voice = {
  player, source: null, mels: { a: null, b: null }, nats: null, copyFile: null, settled: Promise.resolve(),
};
const copying = new Newest(), reading = new Newest();

/** Take a recording: {name, bytes, credit, link}; `bytes` is any sound file. */
async function take(recording) {
  const signal = reading.begin();
  const samples = await decoded(recording.bytes), asItIs = soundType(recording.bytes);
  const seconds = samples.length / model.sample_rate;
  if (signal.aborted) return;
  if (seconds > MAX_SECONDS) {
    throw new Error(`The recording is ${seconds.toFixed(0)} s long; the page takes ${MAX_SECONDS} s. Cut it, or use \`waveglow resynth\`.`);
  }
  if (seconds < 0.1) throw new Error(`The recording is ${seconds.toFixed(2)} s long; give a tenth of a second at least.`);
  // WAV and FLAC go to the server as they are, the rest as the browser hears it. MP3 and its kin overshoot full scale.
  const peak = samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (!asItIs && peak > 1) for (let i = 0; i < samples.length; i++) samples[i] /= peak;
  player.pause();
  player.at = 0;
  player.sounds.b = null;
  player.hear('a');
  player.put('a', samples);
  const body = asItIs ? recording.bytes : wavFile(samples, model.sample_rate);
  Object.assign(voice, { source: { ...recording, body }, mels: { a: null, b: null }, nats: null, copyFile: null });
  describe();
  draw();
  await Promise.all([copy(), aboutOriginal(body, signal)]);
}

async function aboutOriginal(body, signal) {
  voice.mels.a = await melOf(body, signal);
  draw();
  voice.nats = await (await call(`/v1/likelihood?window=${WINDOW_SECONDS}`, { body, type: soundType(body), signal })).json();
  draw();
}

const chosen = () => ({ sigma: $('sigma').value, refine: STEPS[$('refine').value], seed: $('seed').value || 0 });

/** Make the copy again, with what the sliders say. */
async function copy() {
  if (!voice.source) return;
  const signal = copying.begin(), began = performance.now();
  $('tracks').classList.add('busy');
  try {
    const query = new URLSearchParams({ ...chosen(), format: 'wav' });
    const answer = await call(`/v1/resynthesize?${query}`, { body: voice.source.body, type: soundType(voice.source.body), signal });
    const parts = [];
    let first = null, size = 0;
    for (const reader = answer.body.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      size += value.length;
      if (first === null && size > 44) first = performance.now() - began;
    }
    const took = performance.now() - began, file = new Uint8Array(await new Blob(parts).arrayBuffer());
    const samples = fromPcm(file.subarray(44));
    if (signal.aborted) return;
    voice.copyFile = file;
    player.put('b', samples);
    voice.mels.b = null;
    const seconds = samples.length / model.sample_rate;
    tile('m-first', `${(first / 1000).toFixed(2)} s`, 'from the click to the first sample');
    tile('m-rtf', `${(took / 1000 / seconds).toFixed(2)}`, `${(seconds * 1000 / took).toFixed(1)} × as fast as it is spoken`);
    say(`The copy is there: ${seconds.toFixed(1)} seconds, made in ${(took / 1000).toFixed(1)}.`);
    draw();
    voice.mels.b = await melOf(file, signal);
    draw();
  } finally {
    if (!signal.aborted) $('tracks').classList.remove('busy');
  }
}

function tile(id, value, about) {
  const small = document.createElement('small');
  small.textContent = about;
  $(id).replaceChildren(value, small);
}

function difference(a, b) {
  return a && b ? a.map((value, i) => value - (b[i] ?? 0)) : null;
}

function draw() {
  const { a, b } = player.sounds, { mels, nats } = voice, get = (kind, key) => document.querySelector(`canvas[data-${kind}=${key}]`);
  let peak = 0.05;
  for (const sound of [a, b]) for (const value of sound ?? []) peak = Math.max(peak, Math.abs(value));
  const d = difference(a, b);
  for (const [key, samples] of Object.entries({ a, b, d })) drawWave(get('wave', key), samples, colour(key), { length: a?.length, peak });
  const low = Math.min(...(mels.a?.data ?? [-11.5])), high = Math.max(...(mels.a?.data ?? [2]));
  for (const key of 'ab') drawMel(get('mel', key), mels[key], [low, high]);
  const frames = mels.a && mels.b ? Math.min(mels.a.frames, mels.b.frames) : 0;
  const apart = (x, y) => mels.b.data[y * mels.b.frames + x] - mels.a.data[y * mels.a.frames + x];
  const bands = mels.a?.bands ?? 0;
  drawGrid(get('mel', 'd'), frames, frames && bands, (x, y) => 0.5 + apart(x, bands - 1 - y) / 3, diverging());
  if (frames) {
    let sum = 0;
    for (let y = 0; y < bands; y++) for (let x = 0; x < frames; x++) sum += Math.abs(apart(x, y));
    const mean = sum / bands / frames;
    tile('m-mel', `${(mean * 20 / Math.log(10)).toFixed(2)} dB`, `on average, ${mean.toFixed(3)} nats of log-mel`);
  } else tile('m-mel', '–', 'on average');
  const rate = nats ? nats.nats_by_window.map((value, i, { length }) => value / (i < length - 1 ? WINDOW_SECONDS : lastWindow(nats)) / 1000) : [];
  drawSteps(document.querySelector('canvas[data-nats]'), rate, colour('n'), 'k nats/s');
  if (nats) tile('m-nats', `${(nats.nats / nats.samples).toFixed(2)} nats`, `a sample; ${nats.bits_per_sample.toFixed(1)} bits of 16`);
  else tile('m-nats', '–', 'a sample');
  $('download').disabled = !voice.copyFile;
  document.querySelector('[name=heard][value=b]').disabled = !b;
  $('play').disabled = !a;
  $('seek').max = player.seconds;
  changed();
}
/** Seconds of the last window, which is shorter. */
const lastWindow = ({ samples, nats_by_window }) => Math.max(1e-3, samples / model.sample_rate - (nats_by_window.length - 1) * WINDOW_SECONDS);

/** Show what the player does. */
function changed() {
  $('play').setAttribute('aria-pressed', player.playing);
  $('play').setAttribute('aria-label', player.playing ? 'Pause' : 'Play');
  for (const key of 'ab') {
    document.querySelector(`.track.${key}`).classList.toggle('quiet', player.heard !== key);
    document.querySelector(`[name=heard][value=${key}]`).checked = player.heard === key;
  }
  move();
  if (player.playing) requestAnimationFrame(tick);
}
function tick() { if (player.playing) { move(); requestAnimationFrame(tick); } }
function move() {
  const { position, seconds } = player;
  $('time').textContent = `${position.toFixed(1)} / ${seconds.toFixed(1)} s`;
  $('playhead').style.transform = `translateX(${seconds ? position / seconds * ($('tracks').clientWidth - 2) : 0}px)`;
  if (document.activeElement !== $('seek') || player.playing) $('seek').value = position;
}

function describe() {
  const { name, credit, links } = voice.source;
  const parts = [`${name}. `];
  if (credit) parts.push(`${credit}, `);
  for (const { text, href } of links ?? []) {
    const link = Object.assign(document.createElement('a'), { textContent: text, href, target: '_blank', rel: 'noopener noreferrer' });
    parts.push(link, '. ');
  }
  if (credit) parts.push('The copy is an adaptation, under the same licence and credit.');
  $('credit').replaceChildren(...parts);
  $('s-credit').replaceChildren(...[...$('credit').childNodes].map(node => node.cloneNode(true)));
}

const dial = [['sigma', () => Number($('sigma').value).toFixed(2)], ['refine', () => `${STEPS[$('refine').value]} steps`]];
function remake() { voice.settled = doing(copy)(); return voice.settled; }
for (const [id, text] of dial) {
  const show = () => { $(`${id}-said`).textContent = text(); $(id).setAttribute('aria-valuetext', text()); };
  $(id).addEventListener('input', show);
  $(id).addEventListener('change', remake);
  show();
}
$('seed').addEventListener('change', remake);
$('reseed').addEventListener('click', () => { $('seed').value = Math.floor(Math.random() * 1e6); remake(); });
$('play').addEventListener('click', doing(() => (player.playing ? player.pause() : player.play())));
$('loop').addEventListener('change', () => { player.at = player.position; player.loop = $('loop').checked; if (player.playing) player.start(player.at); });
$('seek').addEventListener('input', () => player.seek(Number($('seek').value)));
$('tracks').addEventListener('click', event => {
  const { left, width } = $('tracks').getBoundingClientRect();
  player.seek((event.clientX - left) / width * player.seconds);
});
for (const radio of document.querySelectorAll('[name=heard]')) radio.addEventListener('change', () => player.hear(radio.value));
$('download').addEventListener('click', () => save(new Blob([voice.copyFile], { type: 'audio/wav' }), `${voice.source.name.replace(/\.[^.]*$/, '')}-copy.wav`));

function save(blob, name) {
  const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || $('voice').hidden || $('token').open) return;
  const typing = event.target.matches?.('input[type=number], input[type=password], select');
  const key = event.key.toLowerCase();
  if ((key === 'a' || key === 'b') && !typing) player.hear(key);
  if (key === ' ' && !event.target.closest?.('button, input, select, a')) { event.preventDefault(); $('play').click(); }
});

// ---- Recordings of one's own ----------------------------------------------------------------------------------------

/** The clips that come with the page, each with its licence. */
async function showClips() {
  const clips = await (await fetch('/page/clips/clips.json')).json();
  for (const [i, clip] of clips.entries()) {
    const item = document.createElement('li'), label = document.createElement('label');
    const radio = Object.assign(document.createElement('input'), { type: 'radio', name: 'clip', value: i });
    const about = document.createElement('span');
    about.textContent = clip.about;
    label.append(radio, clip.title, ' ', about);
    const small = document.createElement('small');
    const to = (text, href) => Object.assign(document.createElement('a'), { textContent: text, href, target: '_blank', rel: 'noopener noreferrer' });
    small.append(to(clip.credit, clip.page), ', ', to(clip.licence, clip.licence_page), `, ${clip.seconds} s`);
    item.append(label, small);
    $('clips').append(item);
    radio.addEventListener('change', () => { voice.settled = doing(() => takeClip(clip))(); });
    $('s-clip').append(new Option(clip.title, i));
  }
  $('s-clip').append(Object.assign(new Option('your own', 'own'), { disabled: true }));
  return clips;
}

async function takeClip(clip) {
  const bytes = await (await call(`/page/clips/${clip.file}`)).arrayBuffer();
  const recording = {
    name: clip.title, bytes, credit: clip.credit,
    links: [{ text: clip.licence, href: clip.licence_page }],
  };
  await take(recording);
}

async function takeFile(file) {
  if (!file) return;
  if (file.size > 64 << 20) throw new Error(`${file.name} has ${(file.size / 2 ** 20).toFixed(0)} MiB; the page takes 64.`);
  await take({ name: file.name, bytes: await file.arrayBuffer() });
  for (const radio of document.querySelectorAll('[name=clip]')) radio.checked = false;
  const own = [...$('s-clip').options].find(option => option.value === 'own');
  own.disabled = false;
  own.selected = true;
}

$('choose').addEventListener('click', () => $('file').click());
$('file').addEventListener('change', () => {
  voice.settled = doing(() => takeFile($('file').files[0]))();
  $('file').value = '';
});

const holdsFile = event => event.dataTransfer?.types.includes('Files');
document.addEventListener('dragover', event => { if (holdsFile(event)) { event.preventDefault(); document.body.classList.add('dropping'); } });
document.addEventListener('dragleave', event => { if (!event.relatedTarget) document.body.classList.remove('dropping'); });
document.addEventListener('drop', event => {
  document.body.classList.remove('dropping');
  if (!holdsFile(event)) return;
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (!file) return;
  if (file.type.startsWith('image/')) {
    show('faces');
    const opening = faces.settled;
    faces.settled = doing(async () => { await opening; await takePicture(file); })();
  } else {
    if ($('faces').hidden === false) show('voice');
    voice.settled = doing(() => takeFile(file))();
  }
});

let recorder = null;
async function record() {
  if (recorder) { recorder.stop(); return; }
  if (!navigator.mediaDevices) throw new Error('Browsers give the microphone only to pages on https or localhost; open the page there.');
  let stream;
  try {
    // What telephones do to a voice would be taken for the voice.
    stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
  } catch (error) {
    const why = {
      NotAllowedError: "The microphone isn't allowed to this page; allow it in the browser's address bar, or choose a file.",
      NotFoundError: 'There is no microphone; plug one in, or choose a file.',
    };
    throw new Error(why[error.name] ?? `The microphone can't be used (${error.message}); choose a file instead.`);
  }
  const parts = [], began = performance.now();
  recorder = new MediaRecorder(stream, { audioBitsPerSecond: 256000 });
  recorder.ondataavailable = ({ data }) => parts.push(data);
  const label = $('record').querySelector('[data-text]');
  const count = setInterval(() => {
    const seconds = (performance.now() - began) / 1000;
    label.textContent = `Stop (${seconds.toFixed(0)} s)`;
    if (seconds >= MAX_SECONDS - 0.5) recorder.stop();
  }, 200);
  $('record').setAttribute('aria-pressed', true);
  label.textContent = 'Stop (0 s)';
  say('Recording. Press the button again to stop.');
  recorder.onstop = () => {
    clearInterval(count);
    stream.getTracks().forEach(track => track.stop());
    recorder = null;
    $('record').setAttribute('aria-pressed', false);
    label.textContent = 'Record yourself';
    voice.settled = doing(() => takeFile(new File(parts, 'Your recording')))();
  };
  recorder.start();
}
$('record').addEventListener('click', doing(record));

// ---- Streaming -----------------------------------------------------------------------------------------------------

export const streaming = { running: null, received: [], settled: Promise.resolve() };
let clipsOfPage = [];

async function melOfChosen() {
  const value = $('s-clip').value;
  if (value !== 'own') {
    const clip = clipsOfPage[value];
    if (voice.source?.name !== clip.title) {
      document.querySelectorAll('[name=clip]')[value].checked = true;
      await takeClip(clip);
    }
  }
  voice.mels.a ??= await melOf(voice.source.body);
  return voice.mels.a;
}

class Stream {
  constructor(mel) {
    this.mel = mel;
    this.seams = [];
    this.log = []; // {t, sent, received, heard} in seconds
    this.pieces = [];
    this.sent = this.received = this.heard = this.gaps = 0; // frames, samples, samples, times
    this.ended = this.stopped = false;
    this.finished = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
  }

  async run() {
    const sound = audio();
    await sound.resume();
    if (!sound.audioWorklet) throw new Error('Browsers play streams only on https or localhost; open the page there.');
    await sound.audioWorklet.addModule('/page/worklet.js');
    this.node = new AudioWorkletNode(sound, 'stream', {
      numberOfInputs: 0, outputChannelCount: [1], processorOptions: { lead: LEAD_SECONDS * model.sample_rate },
    });
    this.node.port.onmessage = ({ data }) => this.reported(data);
    this.node.connect(sound.destination);
    const url = new URL(`/v1/stream?${new URLSearchParams(this.query())}`, location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    this.socket = new WebSocket(url, token ? ['waveglow', `bearer.${token}`] : []);
    this.socket.binaryType = 'arraybuffer';
    this.socket.onopen = () => { this.began = performance.now(); this.send(); };
    this.socket.onmessage = ({ data }) => (typeof data === 'string' ? this.told(JSON.parse(data)) : this.came(data));
    this.socket.onclose = ({ reason }) => this.closed(reason);
    this.drawing = setInterval(() => this.show(), 60);
    return this.finished;
  }

  query() { return { sigma: $('s-sigma').value, seed: $('seed').value || 0, latency: $('s-latency').value }; }
  get seconds() { return (performance.now() - this.began) / 1000; }

  /** Frames as an acoustic model would give them, and then the end. */
  send() {
    const { bands, frames, data } = this.mel, pace = Number($('s-pace').value);
    const due = pace ? Math.min(frames, Math.floor(this.seconds * pace * model.sample_rate / model.hop) + FRAMES_A_MESSAGE) : frames;
    while (this.sent < frames && this.sent + Math.min(FRAMES_A_MESSAGE, frames - this.sent) <= due) {
      const n = Math.min(FRAMES_A_MESSAGE, frames - this.sent), message = new Float32Array(n * bands);
      for (let f = 0; f < n; f++) for (let m = 0; m < bands; m++) message[f * bands + m] = data[m * frames + this.sent + f];
      this.socket.send(message);
      this.sent += n;
    }
    if (this.sent === frames) this.socket.send(JSON.stringify({ end: true }));
    else if (!this.stopped) this.timer = setTimeout(() => this.send(), 15);
  }

  came(data) {
    const piece = fromPcm(new Uint8Array(data));
    if (!piece.length) return;
    this.first ??= this.seconds;
    this.seams.push(this.received);
    this.pieces.push(piece);
    this.received += piece.length;
    this.node.port.postMessage({ piece });
  }

  /** Messages in words: what the stream is, at first; that it has ended, at last; or what is wrong. */
  told(message) {
    if (message.code) this.fail(new Error(sentence(message.message)));
    else if (message.end) this.end(message.real_time_factor);
    else {
      const { gather, context } = message, milliseconds = frames => Math.round(frames * model.hop / model.sample_rate * 1000);
      $('s-state').textContent = `It looks ${milliseconds(context.after)} ms ahead, and makes ${milliseconds(gather)} ms or more at a time.`;
    }
  }

  end(factor) {
    this.ended = true;
    this.factor = factor;
    this.node.port.postMessage({ end: true });
  }

  closed(reason) {
    if (this.stopped || this.ended) return;
    this.fail(new Error(reason ? sentence(reason) : 'The stream broke off; the server may be busy. Try again.'));
  }

  reported({ heard, gaps, done, dump }) {
    if (dump) { this.dumped(dump); return; }
    Object.assign(this, { heard, gaps });
    if (done && !this.stopped) { this.stop(); this.resolve(); }
  }

  /** What the worklet was given, joined. */
  dump() {
    return new Promise(resolve => { this.dumped = resolve; this.node.port.postMessage({ dump: true }); });
  }

  fail(error) { this.stop(); this.reject(error); }

  stop() {
    this.show();
    this.stopped = true;
    clearTimeout(this.timer);
    clearInterval(this.drawing);
    this.socket.close();
    this.node.disconnect();
  }

  joined() {
    const all = new Float32Array(this.received);
    this.pieces.reduce((at, piece) => (all.set(piece, at), at + piece.length), 0);
    return all;
  }

  show() {
    if (this.began === undefined) return;
    const rate = model.sample_rate, sent = this.sent * model.hop / rate, received = this.received / rate, heard = this.heard / rate;
    if (!this.stopped) this.log.push({ t: this.seconds, sent, received, heard });
    const total = this.mel.frames * model.hop / rate;
    drawLines($('s-chart'), this.log, total);
    drawWave($('s-wave'), this.joined(), colour('b'), { length: total * rate, peak: 0.6 });
    const g = $('s-wave').getContext('2d'), { clientWidth: width, clientHeight: height } = $('s-wave');
    g.fillStyle = colour('ink');
    for (const seam of this.seams) g.fillRect(seam / rate / total * width, height - 6, 1, 6);
    g.fillStyle = colour('a');
    g.fillRect(heard / total * width, 0, 2, height);
    if (this.first !== undefined) tile('s-first', `${this.first.toFixed(2)} s`, 'after the first frames were sent');
    tile('s-buffered', `${(received - heard).toFixed(2)} s`, 'of sound ahead of the ear');
    const speed = this.factor ? `, ${(1 / this.factor).toFixed(1)} × as fast as heard` : '';
    tile('s-pieces', `${this.pieces.length}`, `${received.toFixed(1)} of ${total.toFixed(1)} s${speed}`);
    tile('s-gaps', `${this.gaps}`, this.gaps ? 'times the sound ran out' : 'it never ran out');
  }
}

function drawLines(canvas, log, total) {
  const { g, width, height } = drawing(canvas), last = log.at(-1)?.t ?? 1;
  const span = Math.max(total * 1.15, last), left = 30, bottom = 20;
  const x = t => left + t / span * (width - left - 8), y = s => height - bottom - s / total * (height - bottom - 8);
  g.font = '11px system-ui, sans-serif';
  g.fillStyle = colour('soft');
  for (let s = 0; s <= span; s++) {
    g.fillText(s ? `${s} s` : '0', x(s) - 4, height - 5);
    if (s <= total) { g.fillText(s, 8, y(s) + 4); g.globalAlpha = 0.18; g.fillRect(left, y(s), width - left - 8, 1); g.globalAlpha = 1; }
  }
  for (const [key, ink] of [['sent', 'soft'], ['received', 'b'], ['heard', 'a']]) {
    g.beginPath();
    for (const point of log) g.lineTo(x(point.t), y(point[key]));
    g.strokeStyle = colour(ink);
    g.lineWidth = 2;
    g.stroke();
  }
}

async function stream() {
  if (streaming.running && !streaming.running.stopped) { streaming.running.stop(); streaming.running.resolve(); return; }
  player.pause();
  $('s-go').textContent = 'Stop';
  $('s-state').textContent = 'The frames are on their way.';
  try {
    streaming.running = new Stream(await melOfChosen());
    await streaming.running.run();
    const { ended } = streaming.running;
    $('s-state').textContent = ended ? 'All of it was heard.' : 'Stopped.';
    say($('s-state').textContent);
    $('s-download').disabled = !streaming.running.received;
  } catch (error) {
    $('s-state').textContent = 'Nothing more comes.';
    throw error;
  } finally {
    $('s-go').textContent = 'Start the stream';
  }
}
$('s-go').addEventListener('click', () => { streaming.settled = doing(stream)(); });
$('s-download').addEventListener('click', () => save(new Blob([wavFile(streaming.running.joined(), model.sample_rate, 16)], { type: 'audio/wav' }), 'stream.wav'));
const sSigma = () => { $('s-sigma-said').textContent = Number($('s-sigma').value).toFixed(2); };
$('s-sigma').addEventListener('input', sSigma);
sSigma();

// ---- Faces ---------------------------------------------------------------------------------------------------------

export const faces = { about: null, picture: null, ends: { a: null, b: null }, way: [], settled: Promise.resolve() };
const asImage = base64 => `data:image/png;base64,${base64}`;
const drawn = new Newest(), ways = new Newest();

async function openFaces() {
  if (faces.about) return;
  $('f-about').textContent = 'It is being loaded …';
  try {
    faces.about = await (await call('/v1/images')).json();
  } catch (error) {
    $('f-about').textContent = '';
    throw error;
  }
  const { name, width, height, parameters, attributes } = faces.about;
  $('f-about').textContent = `This one, ${name}, has ${(parameters / 1e6).toFixed(1)} million numbers and knows only faces that a program drew, ${width} × ${height} pixels.`;
  $('attributes').replaceChildren(...attributes.map(slider));
  await sampleFaces();
}

function slider({ name, full }) {
  const label = document.createElement('label'), text = name.replace('_', ' '), said = Object.assign(document.createElement('b'), { className: 'said' });
  const has = document.createElement('small');
  const input = Object.assign(document.createElement('input'), { type: 'range', min: -1.5, max: 1.5, step: 0.05, value: 0 });
  input.dataset.attribute = name;
  input.dataset.full = full;
  has.dataset.has = name;
  const tell = () => {
    said.textContent = `${input.value > 0 ? '+' : ''}${Number(input.value).toFixed(2)}`;
    input.setAttribute('aria-valuetext', said.textContent);
  };
  input.addEventListener('input', () => { tell(); faces.settled = refresh(); });
  input.addEventListener('reset', tell);
  tell();
  label.append(text, has, said, input);
  return label;
}

const weights = () => Object.fromEntries([...document.querySelectorAll('[data-attribute]')]
  .filter(input => Number(input.value)).map(({ dataset, value }) => [dataset.attribute, Number((value * dataset.full).toFixed(3))]));

async function sampleFaces() {
  const seed = Math.floor(Math.random() * 1e6), temperature = Number($('f-temperature').value);
  const signal = drawn.begin();
  const { pictures } = await posted('/v1/images/sample', { n: 12, temperature, seed }, signal);
  $('gallery').replaceChildren(...pictures.map(({ seed, png }, i) => {
    const button = Object.assign(document.createElement('button'), { type: 'button' });
    button.append(Object.assign(document.createElement('img'), { src: asImage(png), alt: `Face ${i + 1}` }));
    button.addEventListener('click', () => { faces.settled = doing(() => choose({ seed, temperature }, button))(); });
    return button;
  }));
  say(`${pictures.length} new faces.`);
  const [first, , , other] = $('gallery').children;
  await choose({ seed: pictures[0].seed, temperature }, first);
  if (!faces.ends.a) {
    const end = async (key, i) => { faces.ends[key] = { picture: { seed: pictures[i].seed, temperature }, png: pictures[i].png }; };
    await end('a', 0); await end('b', other ? 3 : 0);
    await between();
  }
}

/** Work on a picture: {seed, temperature} or {image}. */
async function choose(picture, button) {
  for (const other of $('gallery').children) other.setAttribute('aria-pressed', other === button);
  faces.picture = picture;
  resetSliders();
  await refresh();
}

function resetSliders() {
  for (const input of document.querySelectorAll('[data-attribute]')) { input.value = 0; input.dispatchEvent(new Event('reset')); }
}

let asked = false, working = null;
/** Show the face as the sliders are. One request at a time: what was moved meanwhile is asked for next. */
function refresh() {
  asked = true;
  working ||= (async () => {
    try {
      while (asked) {
        asked = false;
        await changeFace();
      }
    } catch (error) { warn(error); } finally { working = null; }
  })();
  return working;
}

async function changeFace() {
  const began = performance.now(), picture = faces.picture;
  const details = faces.told !== picture; // of a new one
  const found = await posted('/v1/images/manipulate', { picture: { ...picture, weights: weights() }, details });
  if (picture !== faces.picture) return;
  if (details) tellOf(picture, found);
  faces.png = found.picture;
  $('f-face').src = asImage(found.picture);
  $('f-speed').textContent = `Answered in ${Math.round(performance.now() - began)} ms.`;
  showLatents(found.latents);
}

function tellOf(picture, { has, bits_per_dim: bits }) {
  faces.told = picture;
  for (const small of document.querySelectorAll('[data-has]')) small.textContent = `has ${has[small.dataset.has].toFixed(1)}`;
  const usual = faces.about.bits_per_dim, strange = usual && bits > 2 * usual + 0.5;
  $('f-bits').textContent = `${bits.toFixed(2)} bits a value` + (strange
    ? `; what it learned has ${usual.toFixed(2)}. It comes back without loss, but the sliders know little of such a picture.`
    : usual ? `; those it learned have ${usual.toFixed(2)}.` : '.');
}

/** Each level's channels as tiles, over the whole width. */
function showLatents(levels) {
  $('f-latents-said').textContent = levels.map(({ shape }) => shape.join('×')).join(', ');
  const grids = levels.map(({ shape: [channels, h, w], values }) => {
    let columns = Math.floor(Math.sqrt(4 * channels));
    while (channels % columns) columns--;
    const data = new Float32Array(Uint8Array.from(atob(values), c => c.charCodeAt(0)).buffer);
    const width = columns * (w + 1) - 1, height = channels / columns * (h + 1) - 1;
    const value = (x, y) => {
      const u = x % (w + 1), v = y % (h + 1), c = Math.floor(y / (h + 1)) * columns + Math.floor(x / (w + 1));
      return u === w || v === h ? NaN : 0.5 + data[(c * h + v) * w + u] / 5;
    };
    return { width, height, value };
  });
  const gap = 0.04, tall = grids.reduce((sum, { width, height }) => sum + height / width + gap, -gap);
  $('f-latents').style.aspectRatio = `1 / ${tall}`;
  const { g, width } = drawing($('f-latents')), table = diverging();
  let top = 0;
  for (const grid of grids) {
    const high = grid.height / grid.width * width;
    g.imageSmoothingEnabled = false;
    g.drawImage(pixelsOf(grid.width, grid.height, grid.value, table), 0, top, width, high);
    top += high + gap * width;
  }
}

async function takePicture(file) {
  if (!file) return;
  const limit = faces.about?.limits.photo_bytes ?? 8 << 20;
  if (file.size > limit) throw new Error(`${file.name} has ${(file.size / 2 ** 20).toFixed(0)} MiB; the page takes ${limit >> 20}. Make it smaller first.`);
  const image = await base64Of(file);
  // Back comes what the model sees of it, which is all that is needed from then on.
  const { original } = await posted('/v1/images/manipulate', { picture: { image }, details: true });
  await choose({ image: original });
}

function base64Of(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(',') + 1));
    reader.onerror = () => reject(new Error(`${file.name} can't be read.`));
    reader.readAsDataURL(file);
  });
}

function takeEnd(key) {
  faces.ends[key] = { picture: { ...faces.picture, weights: weights() }, png: faces.png };
  return between();
}

async function between() {
  const { a, b } = faces.ends;
  $('f-end-a').src = asImage(a.png);
  $('f-end-b').src = asImage(b.png);
  const { pictures } = await posted('/v1/images/interpolate', { pictures: [a.picture, b.picture], steps: 16, way: 'spherical' }, ways.begin());
  faces.way = pictures;
  $('strip').replaceChildren(...pictures.map(png => Object.assign(document.createElement('img'), { src: asImage(png), alt: '' })));
  $('f-way').max = pictures.length - 1;
  onTheWay();
}

function onTheWay() {
  const i = Number($('f-way').value);
  if (!faces.way[i]) return;
  $('f-between').src = asImage(faces.way[i]);
  const share = Math.round(i / (faces.way.length - 1) * 100);
  $('f-way-said').textContent = `${share} % B`;
  $('f-way').setAttribute('aria-valuetext', `${share} percent of the way to B`);
  [...$('strip').children].forEach((img, at) => img.classList.toggle('now', at === i));
}

$('f-way').addEventListener('input', onTheWay);
const fTemperature = () => { $('f-temperature-said').textContent = Number($('f-temperature').value).toFixed(2); };
$('f-temperature').addEventListener('input', fTemperature);
fTemperature();
for (const [id, event] of [['f-temperature', 'change'], ['f-draw', 'click']]) {
  $(id).addEventListener(event, () => { faces.settled = doing(sampleFaces)(); });
}
$('f-choose').addEventListener('click', () => $('f-file').click());
$('f-file').addEventListener('change', () => {
  faces.settled = doing(() => takePicture($('f-file').files[0]))();
  $('f-file').value = '';
});
$('f-reset').addEventListener('click', () => { resetSliders(); faces.settled = refresh(); });
for (const key of 'ab') $(`f-${key}`).addEventListener('click', () => { faces.settled = doing(() => takeEnd(key))(); });

// ---- Tabs ----------------------------------------------------------------------------------------------------------

const tabs = [...document.querySelectorAll('[role=tab]')];
function show(name) {
  for (const tab of tabs) {
    const here = tab.id === `tab-${name}`;
    tab.setAttribute('aria-selected', here);
    tab.tabIndex = here ? 0 : -1;
    $(tab.id.slice(4)).hidden = !here;
  }
  if (name !== 'voice' && player.playing) player.pause();
  if (location.hash !== `#${name}`) history.replaceState(null, '', `#${name}`);
  if (name === 'faces') faces.settled = doing(openFaces)();
  if (name === 'voice') draw();
  if (name === 'streaming') streaming.running?.show();
}
for (const [i, tab] of tabs.entries()) {
  tab.addEventListener('click', () => show(tab.id.slice(4)));
  tab.addEventListener('keydown', ({ key }) => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[key];
    if (to === undefined) return;
    const next = tabs.at(to % tabs.length);
    next.focus();
    show(next.id.slice(4));
  });
}
addEventListener('hashchange', () => { if (tabs.some(tab => tab.id === `tab-${location.hash.slice(1)}`)) show(location.hash.slice(1)); });

let resizing = 0;
function redraw() { cancelAnimationFrame(resizing); resizing = requestAnimationFrame(() => { if (!$('voice').hidden) draw(); streaming.running?.show(); }); }
addEventListener('resize', redraw);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);

// ---- Begin ---------------------------------------------------------------------------------------------------------

/** What /v1/models tells, as soon as the model is warm. */
async function warm() {
  for (;;) {
    try {
      return (await (await call('/v1/models')).json()).models[0];
    } catch (error) {
      if (error.status !== 503) throw error;
      $('model').textContent = 'warming up …';
      await new Promise(resolve => setTimeout(resolve, 500));
    }
  }
}

async function begin() {
  model = await warm();
  const name = Object.assign(document.createElement('b'), { textContent: model.name });
  const { refine } = model;
  $('model').replaceChildren(name, ` · ${(model.parameters / 1e6).toFixed(1)} M parameters · ${model.sample_rate / 1000} kHz · ${model.device}`);
  const nearest = STEPS.reduce((best, steps) => (Math.abs(steps - refine) < Math.abs(best - refine) ? steps : best), 0);
  $('refine').value = STEPS.indexOf(nearest);
  $('refine').dispatchEvent(new Event('input'));
  clipsOfPage = await showClips();
  const first = document.querySelector('[name=clip]');
  const tab = location.hash.slice(1);
  if (['streaming', 'faces'].includes(tab)) show(tab);
  else draw();
  if (first) {
    first.checked = true;
    voice.settled = doing(() => takeClip(clipsOfPage[0]))();
  }
}
export const ready = doing(begin)();
