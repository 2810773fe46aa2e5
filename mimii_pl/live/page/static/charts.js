"use strict";
// Charts of a machine: uPlot with the page's colours, lines for limits, and the alarm's levels as a background.
const charts = [];

function chart(place, {series, height = 200, lines = () => [], shades = () => [], range}) {
  const axis = {stroke: () => colour("--soft"), grid: {stroke: () => colour("--line"), width: 1}, ticks: {show: false}, font: "12px system-ui, sans-serif"};
  const across = (plot, value) => plot.valToPos(value, "x", true);
  const plot = new uPlot({
    width: Math.max(200, place.clientWidth), height,
    cursor: {y: false, drag: {x: false, y: false}, points: {size: 7}},
    legend: {show: false}, padding: [8, 12, 0, 0],
    scales: {y: {range: (_, low, high) => reach(low, high, lines().map((one) => one.value), range)}},
    axes: [{...axis, size: 28, space: 70, values: (_, at) => at.map((time) => tick(new Date(1000 * time), spanOf(at)))}, {...axis, size: 56}],
    series: [{}, ...series.map((one) => ({width: 1.75, points: {show: false}, spanGaps: false, ...one, stroke: () => colour(one.stroke), fill: one.fill && (() => colour(one.fill))}))],
    hooks: {
      drawClear: [(self) => {
        const {left, top, width, height: high} = self.bbox;
        self.ctx.save();
        self.ctx.beginPath(); self.ctx.rect(left, top, width, high); self.ctx.clip();
        shades().forEach(({from, to, name}) => {
          self.ctx.fillStyle = colour(name);
          self.ctx.fillRect(across(self, from), top, Math.max(2, across(self, to) - across(self, from)), high);
        });
        self.ctx.restore();
      }],
      draw: [(self) => {
        const {left, width} = self.bbox;
        lines().forEach(({value, name, dash}) => {
          const y = Math.round(self.valToPos(value, "y", true));
          self.ctx.save();
          self.ctx.strokeStyle = colour(name); self.ctx.lineWidth = 1.5 * (devicePixelRatio || 1);
          self.ctx.setLineDash(dash ? [7, 5] : []);
          self.ctx.beginPath(); self.ctx.moveTo(left, y); self.ctx.lineTo(left + width, y); self.ctx.stroke();
          self.ctx.restore();
        });
      }],
    },
  }, [[], ...series.map(() => [])], place);
  tip(plot, place, series);
  new ResizeObserver(() => plot.setSize({width: Math.max(200, place.clientWidth), height})).observe(place);
  charts.push(plot);
  return plot;
}

function tick(date, span) {
  if (span >= 2 * 86400) { return date.toLocaleDateString(undefined, {day: "numeric", month: "short"}); }
  return date.toLocaleTimeString(undefined, {hour: "2-digit", minute: "2-digit", ...(span < 1800 && {second: "2-digit"}), hourCycle: "h23"});
}

function spanOf(times) { return times.length > 1 ? times.at(-1) - times[0] : 0; }

function reach(low, high, values, range) {
  if (range) { return range; }
  const all = [low, high, ...values].filter((value) => value !== null && Number.isFinite(value));
  if (!all.length) { return [0, 1]; }
  const least = Math.min(...all), most = Math.max(...all), room = 0.08 * (most - least) || 1;
  return [least - room, most + room];
}

function tip(plot, place, series) {  // what is under the pointer, in words
  const words = document.createElement("p");
  words.className = "small tip";
  words.textContent = "\u00a0";
  place.append(words);
  plot.hooks.setCursor = [() => {
    const at = plot.cursor.idx, time = at === null || at === undefined ? null : plot.data[0][at];
    const values = series.map((one, number) => one.label + " " + figure(time === null ? null : plot.data[number + 1][at], 4));
    words.textContent = time === null || time === undefined ? "\u00a0" : [moment(new Date(1000 * time)), ...values].join(" · ");
  }];
}

function shadesOf(times, marks, names, lasts) {  // stretches of equal marks that have a colour
  const found = [];
  marks.forEach((mark, place) => {
    if (!names[mark]) { return; }
    const from = times[place - 1] !== undefined && times[place] - times[place - 1] < 4 * lasts ? times[place - 1] : times[place] - lasts;
    const last = found.at(-1);
    if (last && last.mark === mark && last.to >= from) { last.to = times[place]; } else { found.push({from, to: times[place], name: names[mark], mark}); }
  });
  return found;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((plot) => plot.redraw(false)));
