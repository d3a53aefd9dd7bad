// The slices of a case on canvases: window and level, zoom, neighbouring slices, and the heat map over the staged ones.
"use strict";
(() => {
  const viewer = document.getElementById("viewer");
  if (!viewer) return;
  const base = viewer.dataset.case;
  const count = Number(viewer.dataset.slices);
  const low = Number(viewer.dataset.low), high = Number(viewer.dataset.high);
  const aspect = Number(viewer.dataset.rowMm) / Number(viewer.dataset.columnMm) || 1;
  const view = { level: (low + high) / 2, width: high - low, zoom: 1, x: 0.5, y: 0.5, opacity: 0.45, heat: true };
  const trouble = document.getElementById("trouble");
  const slices = new Map(), heats = new Map();

  // Colours of the heat map from cold to hot (inferno: each step is lighter, also on a grey monitor).
  const ANCHORS = [[0, 0, 4], [22, 11, 57], [66, 10, 104], [106, 23, 110], [147, 38, 103], [188, 55, 84], [221, 81, 58],
    [243, 120, 25], [252, 165, 10], [246, 215, 70], [252, 255, 164]];
  const COLOURS = Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (ANCHORS.length - 1), k = Math.min(ANCHORS.length - 2, Math.floor(at)), f = at - k;
    return ANCHORS[k].map((c, j) => c + f * (ANCHORS[k + 1][j] - c));
  });

  async function fetched(path, kind) {
    const answer = await fetch(`${base}/${path}`, { credentials: "same-origin", headers: { Accept: "application/octet-stream" } });
    if (!answer.ok) throw new Error(await answer.text());
    const rows = Number(answer.headers.get("X-Rows")), columns = Number(answer.headers.get("X-Columns"));
    const bytes = await answer.arrayBuffer();
    if (kind === "heat") return { rows, columns, values: new Uint8Array(bytes) };
    const read = new DataView(bytes), values = new Int16Array(rows * columns);
    for (let i = 0; i < values.length; i++) values[i] = read.getInt16(2 * i, true);
    return { rows, columns, values };
  }

  function remembered(kept, key, path, kind, most) {
    if (!kept.has(key)) {
      kept.set(key, fetched(path, kind).catch((error) => { kept.delete(key); throw error; }));
      if (kept.size > most) kept.delete(kept.keys().next().value);
    }
    return kept.get(key);
  }
  const sliceAt = (index) => remembered(slices, index, `slices/${index}`, "slice", 40);
  const heatOf = (role) => remembered(heats, role, `heat/${role}`, "heat", 3);

  const panes = [...viewer.querySelectorAll("canvas")].map((canvas) => ({
    canvas, at: Number(canvas.dataset.at), start: Number(canvas.dataset.at), staged: Number(canvas.dataset.staged),
    role: Number(canvas.dataset.role), place: canvas.parentElement.querySelector(".place"), turn: 0,
  }));

  async function draw(pane) {
    const turn = ++pane.turn;
    try {
      const slice = await sliceAt(pane.at);
      const wanted = viewer.dataset.heat === "yes" && view.heat && view.opacity > 0 && pane.at === pane.staged;
      const heat = wanted ? await heatOf(pane.role).catch(() => null) : null;
      if (turn !== pane.turn) return; // another slice was asked for meanwhile
      paint(pane, slice, heat);
      trouble.textContent = "";
    } catch (error) {
      if (turn === pane.turn) trouble.textContent = error.message || "The slice cannot be read.";
    }
  }

  function paint(pane, slice, heat) {
    const image = new ImageData(slice.columns, slice.rows), data = image.data;
    const bottom = view.level - view.width / 2, scale = 255 / view.width;
    const mixed = heat && heat.values.length === slice.values.length;
    for (let i = 0, j = 0; i < slice.values.length; i++, j += 4) {
      const grey = Math.max(0, Math.min(255, (slice.values[i] - bottom) * scale));
      if (mixed && heat.values[i] > 0) {
        const warm = heat.values[i], colour = COLOURS[warm], share = view.opacity * (warm / 255); // linear in the heat
        data[j] = grey + share * (colour[0] - grey);
        data[j + 1] = grey + share * (colour[1] - grey);
        data[j + 2] = grey + share * (colour[2] - grey);
      } else {
        data[j] = data[j + 1] = data[j + 2] = grey;
      }
      data[j + 3] = 255;
    }
    const whole = document.createElement("canvas");
    whole.width = slice.columns;
    whole.height = slice.rows;
    whole.getContext("2d").putImageData(image, 0, 0);
    const canvas = pane.canvas, side = Math.max(64, Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)));
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, side, side);
    const fit = side / Math.max(slice.columns, slice.rows * aspect) * view.zoom;
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = "high";
    pen.setTransform(fit, 0, 0, fit * aspect, side / 2 - view.x * slice.columns * fit, side / 2 - view.y * slice.rows * fit * aspect);
    pen.drawImage(whole, 0, 0);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pane.place.textContent = `${pane.at + 1} of ${count}`;
    canvas.dataset.drawn = String(pane.at);
    canvas.dataset.heated = mixed ? "yes" : "no";
    if (pane.role === 1) nameSlice(pane.at);
  }

  // The form of the key slice names the slice that the middle picture shows, and the other way round.
  const named = document.getElementById("key-slice-number"), moves = document.getElementById("key-slice-move");
  function nameSlice(at) {
    if (!named) return;
    if (document.activeElement !== named) named.value = String(at + 1);
    moves.disabled = Number(named.value) === Number(document.getElementById("key-slice").dataset.number);
  }
  if (named) named.addEventListener("input", () => {
    const pane = panes.find((one) => one.role === 1), wanted = Number(named.value) - 1;
    if (pane && Number.isInteger(wanted) && wanted >= 0 && wanted < count) { pane.at = wanted; draw(pane); }
  });

  let waiting = false;
  function drawAll() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; panes.forEach(draw); });
  }

  const opacity = document.getElementById("opacity"), shown = document.getElementById("opacity-shown");
  const level = document.getElementById("level"), width = document.getElementById("width");
  function show() {
    level.value = String(Math.round(view.level));
    width.value = String(Math.round(view.width));
    shown.textContent = view.heat ? `${Math.round(view.opacity * 100)}%` : "off";
    drawAll();
  }

  function move(pane, by) {
    pane.at = Math.max(0, Math.min(count - 1, pane.at + by));
    draw(pane);
  }
  function zoom(by) {
    view.zoom = Math.max(1, Math.min(8, view.zoom * by));
    if (view.zoom === 1) view.x = view.y = 0.5;
    show();
  }
  function reset() {
    Object.assign(view, { level: (low + high) / 2, width: high - low, zoom: 1, x: 0.5, y: 0.5, heat: true });
    panes.forEach((pane) => { pane.at = pane.start; });
    show();
  }

  opacity.addEventListener("input", () => { view.opacity = Number(opacity.value) / 100; view.heat = true; show(); });
  level.addEventListener("change", () => { view.level = Number(level.value) || 0; show(); });
  width.addEventListener("change", () => { view.width = Math.max(1, Number(width.value) || 1); show(); });
  document.getElementById("reset").addEventListener("click", reset);
  if (viewer.dataset.heat !== "yes") opacity.disabled = true;

  for (const pane of panes) {
    const canvas = pane.canvas;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey) zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15);
      else move(pane, event.deltaY > 0 ? 1 : -1);
    }, { passive: false });
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.focus();
      canvas.setPointerCapture(event.pointerId);
      from = { x: event.clientX, y: event.clientY, level: view.level, width: view.width, cx: view.x, cy: view.y, pan: event.shiftKey };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      const dx = event.clientX - from.x, dy = event.clientY - from.y;
      if (from.pan) {
        view.x = from.cx - dx / (canvas.clientWidth * view.zoom);
        view.y = from.cy - dy / (canvas.clientHeight * view.zoom);
      } else {
        view.width = Math.max(1, from.width + 2 * dx);
        view.level = from.level + dy;
      }
      show();
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { from = null; });
    canvas.addEventListener("keydown", (event) => {
      const done = {
        ArrowUp: () => move(pane, 1), ArrowDown: () => move(pane, -1),
        ArrowRight: () => { view.width += 20; show(); }, ArrowLeft: () => { view.width = Math.max(1, view.width - 20); show(); },
        PageUp: () => { view.level += 10; show(); }, PageDown: () => { view.level -= 10; show(); },
      }[event.key];
      if (done) { event.preventDefault(); done(); }
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) return;
    const done = {
      h: () => { view.heat = !view.heat; show(); }, r: reset, "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8),
    }[event.key.toLowerCase()];
    if (done) { event.preventDefault(); done(); }
  });
  window.addEventListener("resize", drawAll);
  show();
})();
