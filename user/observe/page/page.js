/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads /metrics every two seconds, as Prometheus does, and shows what changed since the last time.
 * Nothing but text is ever put into the page, whatever keys are called.
 */
"use strict";

const PERIOD_MS = 2000;
const KEPT = 150; /* answers: five minutes */
const SHOWN_MIN = 15; /* a page just opened shows half a minute */
const LATENCY_BACK = 5; /* answers: ten seconds */
const SVG = "http://www.w3.org/2000/svg";
const KINDS = ["log_live", "log_dead", "log_free", "index", "heap", "tls", "program", "kernel_maps"];

const kept = []; /* {at, numbers} */
let paused = false;

const $ = (id) => document.getElementById(id);
const say = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };

/* --- the text of /metrics --- */

function parse(text) {
	const families = new Map();
	const unescape = (s) => s.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));

	for (const line of text.split("\n")) {
		const found = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);

		if (!found)
			continue;
		const labels = {};

		for (const pair of (found[2] || "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g))
			labels[pair[1]] = unescape(pair[2]);
		if (!families.has(found[1]))
			families.set(found[1], []);
		families.get(found[1]).push({ labels, value: Number(found[3]) });
	}
	return families;
}

function rows(numbers, name, want = {}) {
	return (numbers.get(name) || []).filter(
		(row) => Object.entries(want).every(([label, value]) => row.labels[label] === value));
}

const sum = (numbers, name, want) =>
	rows(numbers, name, want).reduce((all, row) => all + row.value, 0);

/* A counter's rise a second; one that went back began anew. */
function rate(from, to, name, want) {
	const before = sum(from.numbers, name, want), now = sum(to.numbers, name, want);

	return Math.max(0, now >= before ? now - before : now) / Math.max(0.001, (to.at - from.at) / 1000);
}

/* --- how numbers are written --- */

function number(x) {
	if (x >= 1e6)
		return (x / 1e6).toFixed(2) + " M";
	if (x >= 1e4)
		return (x / 1e3).toFixed(1) + " k";
	return x >= 100 || Number.isInteger(x) ? String(Math.round(x)) : x.toFixed(1);
}

function time(sec) {
	if (sec === null)
		return "–";
	if (sec < 1e-3)
		return (sec * 1e6).toFixed(0) + " µs";
	return sec < 1 ? (sec * 1e3).toFixed(1) + " ms" : sec.toFixed(1) + " s";
}

const percent = (x) => (Number.isFinite(x) ? (x * 100).toFixed(1) + " %" : "–");

function duration(sec) {
	const days = Math.floor(sec / 86400), hours = Math.floor(sec / 3600) % 24;
	const minutes = Math.floor(sec / 60) % 60;

	if (days)
		return `${days} d ${hours} h`;
	return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min` : `${Math.floor(sec)} s`;
}

/* --- plots --- */

function draw(svg, paths, label) {
	svg.replaceChildren(...paths.map(([kind, d]) => {
		const path = document.createElementNS(SVG, "path");

		path.setAttribute("class", kind);
		path.setAttribute("d", d);
		return path;
	}));
	svg.setAttribute("aria-label", label);
}

const width_of = (cnt) => Math.max(SHOWN_MIN, cnt) - 1;
const x_of = (i, cnt) => (600 * (width_of(cnt) - cnt + i + 1)) / width_of(cnt);

/* Areas that lie on each other. */
function draw_stack(svg, points, kinds, label) {
	const height = 120, top = Math.max(1, ...points.map((p) => kinds.reduce((a, k) => a + p[k], 0)));
	const base = points.map(() => 0);
	const paths = [];

	for (const kind of kinds) {
		const under = base.map((y, i) => `${x_of(i, points.length)} ${height - (y * height) / top}`);

		points.forEach((p, i) => { base[i] += p[kind]; });
		const over = base.map((y, i) => `${x_of(i, points.length)} ${height - (y * height) / top}`);

		if (points.length > 1)
			paths.push([kind, `M${over.join("L")}L${under.reverse().join("L")}Z`]);
	}
	draw(svg, paths, label);
}

function draw_line(svg, values, label) {
	const height = 60, top = Math.max(1e-9, ...values.map((v) => v || 0));
	const points = values.map((v, i) =>
		`${x_of(i, values.length)} ${height - 2 - ((v || 0) * (height - 4)) / top}`);

	draw(svg, values.length > 1 ? [["line", `M${points.join("L")}`]] : [], label);
}

/* --- what is shown --- */

function gets_of(from, to) {
	const name = "xdpcache_requests_total";
	const get = (tier, result) => rate(from, to, name, { op: "get", tier, result });

	return {
		kernel: get("kernel", "hit"),
		daemon: get("daemon", "hit"),
		miss: get("daemon", "miss") + get("kernel", "negative"),
		negative: get("kernel", "negative"),
	};
}

function quantiles_of(from, to, wanted) {
	const name = "xdpcache_request_duration_seconds_bucket";
	const bounds = new Map();

	for (const row of rows(to.numbers, name))
		bounds.set(row.labels.le, (bounds.get(row.labels.le) || 0) + row.value);
	for (const row of rows(from.numbers, name))
		bounds.set(row.labels.le, (bounds.get(row.labels.le) || 0) - row.value);
	const steps = [...bounds].map(([le, cnt]) => [le === "+Inf" ? Infinity : Number(le), cnt])
		.sort((a, b) => a[0] - b[0]);
	const all = steps.length ? steps[steps.length - 1][1] : 0;

	return wanted.map((q) => {
		let lower = 0, below = 0;

		if (!(all > 0))
			return null;
		for (const [bound, cnt] of steps) {
			if (cnt >= q * all) {
				const part = cnt > below ? (q * all - below) / (cnt - below) : 1;

				return bound === Infinity ? lower : lower + (bound - lower) * part;
			}
			lower = bound;
			below = cnt;
		}
		return lower;
	});
}

function show_gets() {
	const points = [];

	for (let i = 1; i < kept.length; i++)
		points.push(gets_of(kept[i - 1], kept[i]));
	const now = points[points.length - 1];
	const all = now.kernel + now.daemon + now.miss;
	const ratio = percent((now.kernel + now.daemon) / all);

	say("gets", number(all));
	say("kernel", number(now.kernel));
	say("daemon", number(now.daemon));
	say("miss", number(now.miss));
	say("ratio", ratio);
	say("share", percent((now.kernel + now.negative) / all));
	say("plot-from", `${duration((width_of(points.length) * PERIOD_MS) / 1000)} ago`);
	draw_stack($("plot-gets"), points, ["kernel", "daemon", "miss"],
		`GETs a second, last ${duration(points.length * PERIOD_MS / 1000)}: now ${number(all)}, ` +
		`of these ${number(now.kernel)} by the kernel, hit ratio ${ratio}`);
}

function show_latency() {
	const at = (i) => quantiles_of(kept[Math.max(0, i - LATENCY_BACK)], kept[i], [0.5, 0.95, 0.99]);
	const now = at(kept.length - 1);
	const worst = kept.slice(1).map((k, i) => (k.p99 === undefined ? (k.p99 = at(i + 1)[2]) : k.p99));

	say("p50", time(now[0]));
	say("p95", time(now[1]));
	say("p99", time(now[2]));
	draw_line($("plot-p99"), worst, `99 of 100 requests took at most ${time(now[2])}`);
}

function show_work(from, to) {
	say("sets", number(rate(from, to, "xdpcache_requests_total", { op: "set" })));
	say("evicted", number(rate(from, to, "xdpcache_items_removed_total", { reason: "evicted" })));
	say("expired", number(rate(from, to, "xdpcache_items_removed_total", { reason: "expired" })));
	say("drops", number(rate(from, to, "xdpcache_drops_total")));
	say("refused", number(rate(from, to, "xdpcache_store_errors_total")));
	say("connections", number(sum(to.numbers, "xdpcache_connections")));
}

/* A row of cells; the first names the others. */
function cells(texts, mark) {
	const row = document.createElement("tr");

	texts.forEach((text, i) => {
		const cell = document.createElement(i ? "td" : "th");

		if (!i) {
			cell.scope = "row";
			if (mark) {
				const dot = document.createElement("i");

				dot.className = mark;
				cell.append(dot);
			}
		}
		cell.append(text);
		row.append(cell);
	});
	return row;
}

function show_memory(numbers) {
	const limit = sum(numbers, "xdpcache_memory_limit_bytes");
	const parts = KINDS.map((kind, i) =>
		({ kind, mark: `m${i}`, bytes: sum(numbers, "xdpcache_memory_bytes", { kind }) }));
	const total = parts.reduce((all, part) => all + part.bytes, 0);
	const mib = (bytes) => (bytes / 1048576).toFixed(1);
	const text = `${mib(total)} of ${mib(limit)} MiB, ` +
		`${number(sum(numbers, "xdpcache_items"))} items`;

	say("memory-sum", text);
	$("memory-bar").replaceChildren(...parts.map((part) => {
		const span = document.createElement("span");

		span.className = part.mark;
		span.style.flexGrow = String(part.bytes);
		return span;
	}));
	$("memory-bar").setAttribute("aria-label", text);
	$("memory").replaceChildren(...parts.map((part) =>
		cells([part.kind.replace("_", ", "), mib(part.bytes)], part.mark)));
}

function show_hot(numbers) {
	const keys = new Map();

	for (const row of rows(numbers, "xdpcache_hot_key_reads_per_second")) {
		const key = keys.get(row.labels.key) || { kernel: 0, daemon: 0 };

		key[row.labels.tier] = row.value;
		keys.set(row.labels.key, key);
	}
	const hottest = [...keys].filter(([, key]) => key.kernel + key.daemon >= 0.05)
		.sort((a, b) => b[1].kernel + b[1].daemon - a[1].kernel - a[1].daemon);

	$("hot").replaceChildren(...hottest.map(([name, key]) =>
		cells([name, number(key.kernel), number(key.daemon)])));
	$("hot-none").hidden = hottest.length > 0;
}

function show_fastpath(from, to) {
	const state = rows(to.numbers, "xdpcache_fastpath_state").find((row) => row.value === 1);

	$("fastpath").hidden = !state;
	$("fastpath-off").hidden = Boolean(state);
	if (state) {
		const seen = rate(from, to, "xdpcache_fastpath_packets_total");
		const answered = ["hit_tail", "hit_head", "hit_tc", "drop_not_allowed", "drop_broken"]
			.reduce((all, outcome) =>
				all + rate(from, to, "xdpcache_fastpath_packets_total", { outcome }), 0);

		say("fp-state", state.labels.state);
		say("fp-entries", number(sum(to.numbers, "xdpcache_fastpath_entries")));
		say("fp-lease", time(sum(to.numbers, "xdpcache_fastpath_lease_seconds")));
		say("fp-passes", number(Math.max(0, seen - answered)));
	}
	return state ? state.labels.state : "off";
}

function show_state(text, good) {
	say("state", text);
	$("state").className = `badge ${good ? "good" : "bad"}`;
}

function show() {
	const to = kept[kept.length - 1], from = kept[Math.max(0, kept.length - 2)];
	const build = rows(to.numbers, "xdpcache_build_info")[0];
	const up = Date.now() / 1000 - sum(to.numbers, "xdpcache_start_time_seconds");
	const fastpath = show_fastpath(from, to);

	show_state(fastpath === "orphaned" ? "fast path orphaned" : "serving", fastpath !== "orphaned");
	say("about", `${build ? build.labels.version : ""}, up ${duration(Math.max(0, up))}, ` +
		`${sum(to.numbers, "xdpcache_threads")} threads`);
	show_memory(to.numbers);
	show_hot(to.numbers);
	if (kept.length < 2)
		return;
	show_gets();
	show_latency();
	show_work(from, to);
}

/* --- asking --- */

async function ask() {
	try {
		const reply = await fetch("metrics", { cache: "no-store" });

		if (!reply.ok)
			throw new Error(`status ${reply.status}`);
		kept.push({ at: performance.now(), numbers: parse(await reply.text()) });
		if (kept.length > KEPT)
			kept.shift();
		show();
	} catch (error) {
		show_state("no answer from the daemon", false);
	}
}

async function go_round() {
	if (!paused && !document.hidden)
		await ask();
	setTimeout(go_round, PERIOD_MS);
}

$("pause").addEventListener("click", () => {
	paused = !paused;
	$("pause").setAttribute("aria-pressed", String(paused));
});
go_round();
