'use strict';
// Curves of a run, from the lines of its metrics.jsonl that the server sends as they are written.

const $ = (id) => document.getElementById(id);
const mostPoints = 10000;
let curves = new Map(); // by key of the lines: {each, points: [[step, mean, lines]]}
let lines = 0, latest = null, shownPicture = -1;

// add adds a value to the curve of a key. When a curve has too many points, neighbours become one with
// their mean, and from then on each new point is of as many lines.
function add(key, step, value) {
  let c = curves.get(key);
  if (!c) curves.set(key, c = { each: 1, points: [] });
  const last = c.points.at(-1);
  if (last && last[2] < c.each) {
    last[0] = step;
    last[1] += (value - last[1]) / ++last[2];
    return;
  }
  if (c.points.length === mostPoints) {
    const half = [];
    for (let k = 0; k < mostPoints; k += 2) {
      const [a, b] = [c.points[k], c.points[k + 1]];
      half.push([b[0], (a[1] + b[1]) / 2, a[2] + b[2]]);
    }
    c.points = half;
    c.each *= 2;
  }
  c.points.push([step, value, 1]);
}

// take adds a line of the metrics. What it leaves out, such as a loss that is not finite, is in no curve.
function take(line) {
  for (const [key, value] of Object.entries(line)) if (key !== 'step' && Number.isFinite(value)) add(key, line.step, value);
  if (!('val.samples' in line)) latest = line;
  lines++;
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const words = { rgb: 'colour', depth: 'depth', semseg: 'objects', norm_rgb: 'standardised colour' };

function element(tag, props, ...children) {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...children);
  return e;
}

// A chart of series [{name, color, points: [[step, value]]}].
function chart(key, title) {
  let c = $('chart-' + key);
  if (!c) {
    const canvas = element('canvas', { width: 760, height: 400 });
    c = element('section', { className: 'card plain', id: 'chart-' + key }, element('h2', {}, title, element('small', {})), canvas, element('div', { className: 'legend' }));
    canvas.onpointermove = (e) => { c.at = e.offsetX / canvas.clientWidth; redraw(); };
    canvas.onpointerleave = () => { c.at = null; redraw(); };
    $('charts').append(c);
  }
  return c;
}

function thin(points, most) {
  if (points.length <= most) return points;
  const out = [], each = points.length / most; // means of neighbours, so that noise does not hide the trend
  for (let k = 0; k < most; k++) {
    const part = points.slice(Math.floor(k * each), Math.max(Math.floor(k * each) + 1, Math.floor((k + 1) * each)));
    out.push([part.at(-1)[0], part.reduce((a, p) => a + p[1], 0) / part.length]);
  }
  return out;
}

function plot(key, title, series, format = (v) => v.toPrecision(3)) {
  series = series.filter((s) => s.points.length);
  if (!series.length) return;
  const c = chart(key, title), canvas = c.querySelector('canvas'), g = canvas.getContext('2d');
  const W = canvas.width, H = canvas.height, left = 74, bottom = 34, top = 12, right = 12;
  const raw = Float64Array.from(series.flatMap((s) => s.points.map((p) => p[1]))).sort();
  let lo = raw[0], hi = raw[Math.min(raw.length - 1, Math.ceil(raw.length * 0.99))]; // a first peak does not flatten the rest
  if (!(hi > lo)) { hi = lo + Math.abs(lo || 1); }
  const last = series.reduce((most, s) => Math.max(most, s.points.at(-1)[0]), 1);
  const x = (s) => left + (s / last) * (W - left - right), y = (v) => top + (1 - (Math.min(v, hi) - lo) / (hi - lo)) * (H - top - bottom);
  g.clearRect(0, 0, W, H);
  g.font = '20px system-ui, sans-serif';
  g.fillStyle = css('--soft');
  g.strokeStyle = css('--line');
  g.lineWidth = 1;
  for (let k = 0; k <= 4; k++) {
    const v = lo + ((hi - lo) * k) / 4;
    g.beginPath(); g.moveTo(left, y(v)); g.lineTo(W - right, y(v)); g.stroke();
    g.textAlign = 'right'; g.fillText(format(v), left - 8, y(v) + 7);
    g.textAlign = k === 0 ? 'left' : k === 4 ? 'right' : 'center';
    g.fillText(String(Math.round((last * k) / 4)), x((last * k) / 4), H - 8);
  }
  for (const s of series) {
    g.strokeStyle = s.color; g.fillStyle = s.color;
    g.lineWidth = s.faint ? 2 : 3;
    g.setLineDash(s.dash ? [8, 6] : []);
    g.beginPath();
    thin(s.points, 300).forEach((p, i) => (i ? g.lineTo(x(p[0]), y(p[1])) : g.moveTo(x(p[0]), y(p[1]))));
    g.stroke();
    g.setLineDash([]);
    if (s.dots) for (const p of s.points) { g.beginPath(); g.arc(x(p[0]), y(p[1]), 5, 0, 7); g.fill(); }
  }
  const at = c.at ? Math.max(0, ((c.at * W - left) / (W - left - right)) * last) : last;
  if (c.at) { g.strokeStyle = css('--soft'); g.lineWidth = 1; g.beginPath(); g.moveTo(x(at), top); g.lineTo(x(at), H - bottom); g.stroke(); }
  c.querySelector('.legend').replaceChildren(...series.map((s) => {
    const near = s.points.reduce((a, p) => (Math.abs(p[0] - at) < Math.abs(a[0] - at) ? p : a));
    const dot = element('i', {});
    dot.style.background = s.color;
    return element('span', {}, dot, `${s.name} ${format(near[1])}`);
  }));
  c.querySelector('small').textContent = c.at ? `step ${Math.round(at)}` : '';
}

const of = (key) => curves.get(key)?.points || [];

let frame = 0; // asked for
function redraw() {
  frame ||= requestAnimationFrame(() => { frame = 0; draw(); });
}

function draw() {
  if (!lines) return;
  const blue = css('--accent'), orange = css('--mark'), soft = css('--soft');
  plot('loss', 'Loss', [{ name: 'training', color: blue, points: of('loss') }, { name: 'validation', color: orange, dots: true, points: of('val.loss') }]);
  const keys = [...curves.keys()];
  const outputs = new Set(keys.map((k) => (k.match(/^(?:val\.)?loss\.(.+)$/) || [])[1]).filter(Boolean));
  for (const o of outputs) {
    plot('loss-' + o, `Loss of ${words[o] || o}`, [
      { name: 'training', color: blue, points: of('loss.' + o) },
      { name: 'validation', color: orange, dots: true, points: of('val.loss.' + o) },
      { name: 'averages only', color: soft, dash: true, points: of('val.trivial_loss.' + o) },
    ]);
  }
  const figures = { miou: 'Mean IoU', delta1: 'δ1', accuracy: 'Accuracy', top1: 'Top 1', psnr: 'PSNR' };
  for (const key of keys) {
    const [, figure, o] = key.match(/^val\.([a-z0-9]+)\.(.+)$/) || [];
    if (!figures[figure]) continue;
    plot(`${figure}-${o}`, `${figures[figure]} of ${words[o] || o}`, [
      { name: 'validation', color: orange, dots: true, points: of(key) },
      { name: 'averages only', color: soft, dash: true, points: of(`val.trivial_${figure}.${o}`) },
    ]);
  }
  plot('lr', 'Learning rate', [{ name: '', color: blue, points: of('lr') }], (v) => v.toExponential(1));
  plot('grad', 'Gradient norm', [{ name: '', color: blue, faint: true, points: of('grad_norm') }]);
  plot('speed', 'Images a second', [{ name: '', color: blue, faint: true, points: of('images_per_s') }], (v) => v.toFixed(0));
  document.body.dataset.lines = lines; // for tests
}

// describe says in words where the run is, also while the page is hidden and nothing is drawn.
function describe() {
  if (!latest) return;
  const loss = Number.isFinite(latest.loss) ? latest.loss.toFixed(3) : 'not finite';
  $('head').textContent = `Step ${latest.step}`;
  $('lead').textContent = `Loss ${loss}, ${latest.images_per_s} images a second, epoch ${latest.epoch}.`;
  document.title = `gomae: step ${latest.step}`;
}

async function refreshPicture() {
  const run = curves, step = latest ? latest.step : 0;
  if (step === shownPicture || document.hidden) return;
  try {
    const r = await fetch('reconstructions.png');
    if (!r.ok) return;
    const blob = await r.blob();
    if (run !== curves) return; // it is of what came before
    const img = $('picture'), old = img.src;
    img.src = URL.createObjectURL(blob);
    img.hidden = false;
    if (old.startsWith('blob:')) URL.revokeObjectURL(old);
    shownPicture = step;
    $('when').textContent = `last checkpoint, seen at step ${step}`;
  } catch { /* the next time */ }
}

let due = 0;
function follow() {
  const source = new EventSource('events');
  source.onopen = () => { $('link').textContent = 'live'; };
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) { // it asks again by itself
      $('link').textContent = 'the run has ended or was stopped; this page goes on when it is resumed with -serve';
      return;
    }
    $('link').textContent = 'too many pages follow this run; this one waits for a place';
    setTimeout(follow, 10000);
  };
  source.addEventListener('again', () => { // what came before may be of another run
    curves = new Map(); lines = 0; latest = null; shownPicture = -1;
    $('charts').replaceChildren();
    $('head').textContent = 'Training';
    $('lead').textContent = 'Waiting for the first step.';
    document.title = 'gomae: training';
    $('picture').hidden = true;
    $('when').textContent = '';
  });
  source.addEventListener('lines', ({ data }) => {
    for (const line of JSON.parse(data)) take(line);
    if (!due) due = setTimeout(() => { due = 0; describe(); redraw(); if (shownPicture < 0) refreshPicture(); }, 100);
  });
}
follow();
setInterval(refreshPicture, 15000);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
