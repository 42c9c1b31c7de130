'use strict';
// Curves of a run, from the lines of its metrics.jsonl that the server sends as they are written.

const $ = (id) => document.getElementById(id);
let steps = [], validations = [], shownPicture = -1;

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
  const raw = series.flatMap((s) => s.points.map((p) => p[1])).sort((a, b) => a - b);
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

const of = (list, key) => list.filter((l) => Number.isFinite(l[key])).map((l) => [l.step, l[key]]);

function redraw() {
  if (!steps.length && !validations.length) return;
  const blue = css('--accent'), orange = css('--mark'), soft = css('--soft');
  plot('loss', 'Loss', [{ name: 'training', color: blue, points: of(steps, 'loss') }, { name: 'validation', color: orange, dots: true, points: of(validations, 'val.loss') }]);
  const outputs = [...new Set([...steps, ...validations].flatMap((l) => Object.keys(l)).map((k) => (k.match(/^(?:val\.)?loss\.(.+)$/) || [])[1]).filter(Boolean))];
  for (const o of outputs) {
    plot('loss-' + o, `Loss of ${words[o] || o}`, [
      { name: 'training', color: blue, points: of(steps, 'loss.' + o) },
      { name: 'validation', color: orange, dots: true, points: of(validations, 'val.loss.' + o) },
      { name: 'averages only', color: soft, dash: true, points: of(validations, 'val.trivial_loss.' + o) },
    ]);
  }
  const figures = { miou: 'Mean IoU', delta1: 'δ1', accuracy: 'Accuracy', top1: 'Top 1', psnr: 'PSNR' };
  for (const key of new Set(validations.flatMap((l) => Object.keys(l)))) {
    const [, figure, o] = key.match(/^val\.([a-z0-9]+)\.(.+)$/) || [];
    if (!figures[figure]) continue;
    plot(`${figure}-${o}`, `${figures[figure]} of ${words[o] || o}`, [
      { name: 'validation', color: orange, dots: true, points: of(validations, key) },
      { name: 'averages only', color: soft, dash: true, points: of(validations, `val.trivial_${figure}.${o}`) },
    ]);
  }
  plot('lr', 'Learning rate', [{ name: '', color: blue, points: of(steps, 'lr') }], (v) => v.toExponential(1));
  plot('grad', 'Gradient norm', [{ name: '', color: blue, faint: true, points: of(steps, 'grad_norm') }]);
  plot('speed', 'Images a second', [{ name: '', color: blue, faint: true, points: of(steps, 'images_per_s') }], (v) => v.toFixed(0));
  const l = steps.at(-1);
  if (l) {
    $('head').textContent = `Step ${l.step}`;
    $('lead').textContent = `Loss ${l.loss.toFixed(3)}, ${l.images_per_s} images a second, epoch ${l.epoch}.`;
    document.title = `gomae: step ${l.step}`;
  }
  document.body.dataset.lines = steps.length + validations.length; // for tests
}

async function refreshPicture() {
  const run = steps, step = steps.length ? steps.at(-1).step : 0;
  if (step === shownPicture || document.hidden) return;
  try {
    const r = await fetch('reconstructions.png');
    if (!r.ok) return;
    const blob = await r.blob();
    if (run !== steps) return; // it is of what came before
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
    steps = []; validations = []; shownPicture = -1;
    $('charts').replaceChildren();
    $('head').textContent = 'Training';
    $('lead').textContent = 'Waiting for the first step.';
    document.title = 'gomae: training';
    $('picture').hidden = true;
    $('when').textContent = '';
  });
  source.addEventListener('lines', ({ data }) => {
    for (const l of JSON.parse(data)) ('val.samples' in l ? validations : steps).push(l);
    if (!due) due = setTimeout(() => { due = 0; redraw(); if (shownPicture < 0) refreshPicture(); }, 100);
  });
}
follow();
setInterval(refreshPicture, 15000);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
