//! Figures of several rounds and contenders → medians, a table for people, JSON for programs.

use crate::catalog::{PEER, PRICE, ROWS, Row};
use crate::driver::exact;
use crate::driver::tally::median;
use crate::measure::Verdict;
use crate::scenario::Figures;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    sessions: u64,
    /// In the order of the columns.
    contenders: Vec<String>,
    rounds: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
    faults: Vec<String>,
    pub(crate) faults_count: u64,
    pub(crate) verdict: Option<Verdict>,
}

impl Report {
    pub(crate) fn new(sessions: u64) -> Report {
        Report { sessions, ..Report::default() }
    }

    pub(crate) fn add(&mut self, contender: &str, figures: &Figures) {
        if !self.contenders.iter().any(|known| known == contender) {
            self.contenders.push(contender.to_owned());
        }
        let known = self.rounds.entry(contender.to_owned()).or_default();
        for (key, value) in figures {
            known.entry(key.clone()).or_default().push(*value);
        }
    }

    pub(crate) fn add_faults(&mut self, contender: &str, faults: &[String], count: u64) {
        self.faults_count += count;
        self.faults.extend(faults.iter().map(|fault| format!("{contender}: {fault}")));
    }

    pub(crate) fn median(&self, contender: &str, key: &str) -> Option<f64> {
        self.rounds.get(contender)?.get(key).map(|values| median(values.clone()))
    }

    /// The table: one row a figure, one column a contender; with `judged`, what must be reached and whether it is.
    pub(crate) fn print(&self, judged: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let rows: Vec<&Row> = ROWS
            .iter()
            .filter(|row| self.contenders.iter().any(|c| self.median(c, row.key).is_some()))
            .collect();
        let peers: Vec<&String> = self.contenders.iter().filter(|name| *name != "entry").collect();
        let mut lines = vec![self.header(&peers, judged)];
        let mut missed = Vec::new();
        for row in &rows {
            lines.push(self.line(row, &peers, judged, &mut missed));
        }
        let columns = lines[0].len();
        let widths: Vec<usize> = (0..columns)
            .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
            .collect();
        for (number, line) in lines.iter().enumerate() {
            write!(out, "|")?;
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let space = " ".repeat(width - cell.chars().count());
                match column {
                    0 | 1 => write!(out, " {cell}{space} |")?,
                    _ => write!(out, " {space}{cell} |")?,
                }
            }
            writeln!(out)?;
            if number == 0 {
                let rule: Vec<String> = widths
                    .iter()
                    .enumerate()
                    .map(|(column, width)| {
                        if column < 2 { "-".repeat(width + 2) } else { format!("{}:", "-".repeat(width + 1)) }
                    })
                    .collect();
                writeln!(out, "|{}|", rule.join("|"))?;
            }
        }
        writeln!(out)?;
        if judged {
            match missed.len() {
                0 => writeln!(out, "All goals that could be judged are reached.")?,
                count => writeln!(out, "{count} goals are missed: {}.", missed.join(", "))?,
            }
        }
        self.print_verdict(&mut out)
    }

    fn header(&self, peers: &[&String], judged: bool) -> Vec<String> {
        let mut header = vec!["figure".to_owned(), "unit".to_owned(), "entry".to_owned()];
        header.extend(peers.iter().map(|name| (*name).clone()));
        if judged {
            header.extend(["goal", "reached", "ours : goal"].map(str::to_owned));
        } else {
            header.extend(peers.iter().map(|name| format!("ours : {name}")));
        }
        header
    }

    fn line(&self, row: &Row, peers: &[&String], judged: bool, missed: &mut Vec<String>) -> Vec<String> {
        let ours = self.median("entry", row.key);
        let mut line = vec![row.title.to_owned(), row.unit.to_owned(), number(ours)];
        line.extend(peers.iter().map(|name| number(self.median(name, row.key))));
        if judged {
            let (peer, price) = (self.median(PEER, row.key), self.median("entry", PRICE));
            let verdict = row.goal.judge(ours, peer, price);
            line.push(row.goal.words());
            line.push(match verdict {
                Some((true, _)) => "yes".to_owned(),
                Some((false, _)) => "NO".to_owned(),
                None => String::new(),
            });
            line.push(verdict.map_or(String::new(), |(_, ratio)| number(Some(ratio))));
            if let Some((false, ratio)) = verdict {
                missed.push(format!("{} ({})", row.key, number(Some(ratio))));
            }
        } else {
            line.extend(peers.iter().map(|name| {
                let theirs = self.median(name, row.key).filter(|value| *value != 0.0);
                number(ours.zip(theirs).map(|(ours, theirs)| ours / theirs))
            }));
        }
        line
    }

    fn print_verdict(&self, out: &mut impl Write) -> io::Result<()> {
        if let Some(verdict) = &self.verdict {
            writeln!(
                out,
                "The machine: {} processors, {:.0} s, {:.1} % stolen, {:.1} % for others, the same work took {:.1} % \
                 more or less before and after, load average {:.1}.",
                std::thread::available_parallelism().map_or(0, usize::from),
                verdict.seconds,
                verdict.steal_percent,
                verdict.foreign_percent,
                verdict.drift_percent,
                verdict.load_average,
            )?;
            if verdict.objections.is_empty() {
                writeln!(out, "It was quiet enough: the figures count.")?;
            } else {
                writeln!(
                    out,
                    "It was too noisy: the figures DO NOT COUNT. {}.",
                    verdict.objections.join("; ")
                )?;
            }
        }
        if self.faults_count > 0 {
            writeln!(out, "{} FAULTS. The first:", self.faults_count)?;
            for fault in self.faults.iter().take(20) {
                writeln!(out, "  {fault}")?;
            }
        } else {
            writeln!(out, "Every byte that came back was the right one.")?;
        }
        Ok(())
    }

    /// Everything, with every round.
    pub(crate) fn json(&self) -> Value {
        let mut contenders = Map::new();
        for (contender, figures) in &self.rounds {
            let told: Map<String, Value> = figures
                .iter()
                .map(|(key, rounds)| {
                    (key.clone(), json!({"median": self.median(contender, key), "rounds": rounds}))
                })
                .collect();
            contenders.insert(contender.clone(), Value::Object(told));
        }
        json!({
            "sessions": self.sessions,
            "contenders": contenders,
            "faults": self.faults,
            "faults_count": self.faults_count,
            "machine": {
                "processors": std::thread::available_parallelism().map_or(0, usize::from),
                "counts": self.verdict.as_ref().is_some_and(|verdict| verdict.objections.is_empty()),
                "verdict": self.verdict,
            },
        })
    }
}

/// With as many digits as mean something.
fn number(value: Option<f64>) -> String {
    let Some(value) = value.filter(|value| value.is_finite()) else { return "–".to_owned() };
    let digits = match value.abs() {
        0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if value.abs() < 1000.0 {
        return text;
    }
    // Thousands are set apart.
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let first = text.len() % 3;
    let mut parts: Vec<&str> = if first > 0 { vec![&text[..first]] } else { Vec::new() };
    parts.extend((first..text.len()).step_by(3).map(|at| &text[at..at + 3]));
    format!("{sign}{}", parts.join(","))
}

/// The sum of several reports of one run in several processes.
pub(crate) fn merge(reports: &[Value]) -> (Figures, Vec<String>, u64) {
    let mut merged: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let (mut faults, mut faults_count) = (Vec::new(), 0);
    for report in reports {
        faults.extend(
            report["faults"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned),
        );
        faults_count += report["faults_count"].as_u64().unwrap_or(0);
        for (key, figure) in report["contenders"]["entry"].as_object().into_iter().flatten() {
            if let Some(value) = figure["median"].as_f64() {
                merged.entry(key.clone()).or_default().push(value);
            }
        }
    }
    let figures = merged.into_iter().map(|(key, values)| {
        let sum: f64 = values.iter().sum();
        let most = values.iter().copied().fold(f64::MIN, f64::max);
        let mean = sum / exact(values.len() as u64);
        let value =
            if ["_p50_", "_p99_", "_max_", "_disturbed_", "code"].iter().any(|part| key.contains(part)) {
                most
            } else if ["_kib", "_cpu_us", "_gb", "start_rss_mib", "binary_mb"]
                .iter()
                .any(|end| key.ends_with(end))
            {
                mean
            } else {
                sum
            };
        (key, value)
    });
    (figures.collect(), faults, faults_count)
}
