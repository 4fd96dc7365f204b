//! `loadgen plot`: reports of several sizes → curves, as small SVG that reads well on light and dark ground.

use lexopt::prelude::{Long, Short, Value, ValueExt};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// A curve's figure, and what it is called.
type Curve = (&'static str, &'static str);

/// File name, title, unit, figures.
const PLOTS: [(&str, &str, &str, &[Curve]); 5] = [
    (
        "memory",
        "Memory per session",
        "KiB",
        &[("memory_kib", "idle"), ("idle_kib", "idle"), ("moved_kib", "after moving data")],
    ),
    ("round-trip", "Round trip of a key", "µs", &[("keys_p50_us", "p50"), ("keys_p99_us", "p99")]),
    ("cpu-key", "CPU per key", "µs", &[("keys_cpu_us", "1,000 keys/s")]),
    ("cpu-ping", "CPU per PING", "µs", &[("ping_cpu_us", "all PINGs")]),
    ("cpu-idle", "CPU while nothing is typed", "% of a core", &[("idle_cpu_percent", "all PINGs")]),
];

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 44.0;
/// Told apart on light and dark ground, and by those who see few colours.
const COLOURS: [&str; 6] = ["#d55e00", "#0090d8", "#009e73", "#cc79a7", "#b58900", "#8a8a8a"];

/// Draws what the reports have.
pub(crate) fn main(arguments: Vec<OsString>) -> Result<(), String> {
    let (mut files, mut folder) = (Vec::new(), None);
    let mut parser = lexopt::Parser::from_args(arguments);
    let text = |error: lexopt::Error| error.to_string();
    while let Some(argument) = parser.next().map_err(text)? {
        match argument {
            Short('o') | Long("out") => folder = Some(PathBuf::from(parser.value().map_err(text)?)),
            Value(file) => files.push(PathBuf::from(file.string().map_err(text)?)),
            other @ (Short(_) | Long(_)) => return Err(other.unexpected().to_string()),
        }
    }
    let folder = folder.ok_or("plot needs -o FOLDER")?;
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut reports = Vec::new();
    for file in &files {
        let report = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let report: Json =
            serde_json::from_str(&report).map_err(|error| format!("{}: {error}", file.display()))?;
        reports.push(report);
    }
    for (name, title, unit, curves) in PLOTS {
        let series = series(&reports, curves);
        if !series.is_empty() {
            write(&folder, name, &draw(title, unit, &series))?;
        }
    }
    Ok(())
}

fn write(folder: &Path, name: &str, svg: &str) -> Result<(), String> {
    let file = folder.join(format!("{name}.svg"));
    std::fs::write(&file, svg).map_err(|error| format!("{}: {error}", file.display()))
}

/// Points of each contender's curves, by sessions.
fn series(reports: &[Json], curves: &[Curve]) -> BTreeMap<String, Vec<(f64, f64)>> {
    let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for report in reports {
        let Some(sessions) = report["sessions"].as_f64() else { continue };
        for (contender, figures) in report["contenders"].as_object().into_iter().flatten() {
            for (key, label) in curves {
                if let Some(value) = figures[*key]["median"].as_f64() {
                    series.entry(format!("{contender}, {label}")).or_default().push((sessions, value));
                }
            }
        }
    }
    for points in series.values_mut() {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    series
}

fn draw(title: &str, unit: &str, series: &BTreeMap<String, Vec<(f64, f64)>>) -> String {
    let all = || series.values().flatten();
    let most = all().map(|point| point.0).fold(1.0, f64::max);
    let (step, top) = axis(all().map(|point| point.1).fold(0.0, f64::max));
    let (x_step, _) = axis(most);
    let x = |sessions: f64| LEFT + sessions / most * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value.max(0.0) / top * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n<style>text{{font:12px system-ui,sans-serif;\
         fill:#57606a}}.t{{font-size:14px;font-weight:600}}.g{{stroke:#8c959f;stroke-opacity:.3}}\
         @media(prefers-color-scheme:dark){{text{{fill:#adb5bd}}}}</style>\n\
         <text class=\"t\" x=\"{LEFT}\" y=\"20\">{title}, {unit}</text>\n"
    );
    let mut value = 0.0;
    while value <= top + step / 2.0 {
        let (height, end) = (y(value), WIDTH - RIGHT);
        let _ = writeln!(svg, "<path class=\"g\" d=\"M{LEFT} {height:.1}H{end}\"/>");
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            height + 4.0,
            trimmed(value)
        );
        value += step;
    }
    let mut sessions = 0.0;
    while sessions <= most {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(sessions),
            HEIGHT - BOTTOM + 18.0,
            trimmed(sessions)
        );
        sessions += x_step;
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">sessions</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 8.0
    );
    for (number, (name, points)) in series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let line: Vec<String> =
            points.iter().map(|(sessions, value)| format!("{:.1} {:.1}", x(*sessions), y(*value))).collect();
        let _ = writeln!(
            svg,
            "<path fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" d=\"M{}\"/>",
            line.join("L")
        );
        for (sessions, value) in points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x(*sessions),
                y(*value)
            );
        }
        let height = TOP + 8.0 + 18.0 * crate::driver::exact(number as u64);
        let _ = writeln!(
            svg,
            "<circle cx=\"{}\" cy=\"{height}\" r=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"{}\">{name}</text>",
            WIDTH - RIGHT + 16.0,
            WIDTH - RIGHT + 26.0,
            height + 4.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// A round step, and a round end at or above the highest value.
fn axis(highest: f64) -> (f64, f64) {
    let highest = if highest > 0.0 { highest } else { 1.0 };
    let rough = highest / 5.0;
    let power = 10.0_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * power);
    (step, (highest / step).ceil() * step)
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
