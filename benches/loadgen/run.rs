//! `loadgen run`, `loadgen targets`, `loadgen check`: who is measured by what, in which order.

use crate::driver::exact;
use crate::driver::session::Leave;
use crate::driver::wire::Codec;
use crate::measure::Noise;
use crate::options::Options;
use crate::report::Report;
use crate::rig::{Contender, Engine, Folder, Kind};
use crate::scenario::{Field, Figures, Flood, Speech, mebibytes};
use std::io::{self, BufRead, Write};

const DEFAULT_SCENARIOS: [&str; 4] = ["memory", "idle", "keys", "flood"];

/// Runs the scenarios that were named; whether every byte was right.
pub(crate) fn run(options: &Options) -> io::Result<bool> {
    if options.processes > 1 {
        return crate::lanes::run(options);
    }
    let rounds = match options.rounds {
        0 if options.kinds.len() > 1 => 3,
        0 => 1,
        rounds => rounds,
    };
    let scenarios: Vec<String> = if options.scenarios.is_empty() {
        DEFAULT_SCENARIOS.map(str::to_owned).to_vec()
    } else {
        options.scenarios.clone()
    };
    conduct(options, rounds, false, |field, _| {
        hold(field, options, options.sessions)?;
        for scenario in &scenarios {
            if options.lane {
                wait_for_the_word(scenario)?;
            }
            perform(field, scenario, options)?;
        }
        if options.lane {
            wait_for_the_word("leave")?;
        }
        field.leave_all(Leave::Close)?;
        field.after(2.0)
    })
}

/// Says that it has come to a point, and waits until the others have too.
fn wait_for_the_word(point: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{point}")?;
    out.flush()?;
    io::stdin().lock().read_line(&mut String::new()).map(drop)
}

/// Opens the sessions that stay.
fn hold(field: &mut Field<'_>, options: &Options, sessions: u64) -> io::Result<()> {
    field.phase("opening");
    let begin = field.driver.now();
    match options.rate {
        Some(rate) => field.open_echoes(sessions, rate)?,
        None => field.burst(sessions)?,
    }
    let seconds = exact(field.driver.now() - begin) / 1e9;
    field.note("open_seconds", seconds);
    field.note("sessions", exact(field.echoes.len() as u64));
    Ok(())
}

/// A scenario by its name, `NAME` or `NAME:NUMBER:NUMBER`.
fn perform(field: &mut Field<'_>, scenario: &str, options: &Options) -> io::Result<()> {
    let mut parts = scenario.split(':');
    let name = parts.next().unwrap_or_default();
    let numbers: Vec<f64> = parts
        .map(|part| part.parse().map_err(|_| io::Error::other(format!("{scenario}: {part} is no number"))))
        .collect::<io::Result<_>>()?;
    let number = |at: usize, default: f64| numbers.get(at).copied().unwrap_or(default);
    let short = |long: f64, short: f64| if options.quick { short } else { long };
    let count = |at: usize, default: f64| crate::driver::whole(number(at, default));
    match name {
        "memory" => field.memory("memory"),
        "idle" => field.idle(number(0, short(32.0, 5.0))),
        "keys" => field.keys("keys", number(0, 1_000.0), number(1, short(10.0, 3.0))),
        "fast" => field.keys("fast", number(0, 8_000.0), number(1, short(5.0, 2.0))),
        "move" => {
            field.move_bytes(mebibytes(number(0, 1.0)))?;
            field.memory("moved")
        }
        "flood" => {
            let tty = !matches!(field.speech, Speech::One(Codec::V1, false));
            let bytes = count(0, short(100.0, 20.0)) * 1_000_000;
            field.flood(&Flood {
                name: "flood",
                sessions: 8,
                bytes,
                write_bytes: count(1, 32_768.0),
                tty,
                typing: None,
            })
        }
        "neighbours" => {
            let bytes = count(0, short(200.0, 50.0)) * 1_000_000;
            let write_bytes = count(1, 32_768.0);
            let typing = Some(1_000.0);
            field.flood(&Flood { name: "near", sessions: 8, bytes, write_bytes, tty: true, typing })
        }
        "burst" => field.burst(count(0, 2_000.0)),
        "opens" => field.opens(number(0, 500.0), count(1, 2_000.0)),
        "stall" => field.stall(count(0, 200.0) * 1_000_000),
        "giant" => field.giant(),
        "churn" => field.churn(number(0, 500.0), number(1, short(10.0, 3.0))),
        "mix" => field.mix(count(0, 120.0), number(1, short(5.0, 2.0))),
        "vanish" => {
            field.leave_all(Leave::Vanish)?;
            hold(field, options, options.sessions)
        }
        other => Err(io::Error::other(format!("there is no scenario {other}; see loadgen run --help"))),
    }
}

/// Every contender in turn, round by round; then the report. Gives whether there was no fault.
fn conduct(
    options: &Options,
    rounds: usize,
    judged: bool,
    mut act: impl FnMut(&mut Field<'_>, usize) -> io::Result<()>,
) -> io::Result<bool> {
    crate::sys::raise_descriptor_limit()?;
    let folder = Folder::new()?;
    let noise = Noise::begin();
    let mut report = Report::new(options.sessions);
    for round in 0..rounds {
        for kind in &options.kinds {
            if !options.quiet {
                let _ = writeln!(io::stderr(), "round {} of {rounds}: {}", round + 1, kind.name());
            }
            let mut field_report = |figures: &Figures, faults: &[String], count: u64| {
                report.add(&kind.name(), figures);
                report.add_faults(&kind.name(), faults, count);
            };
            measure_one(options, kind, &folder, round, &mut act, &mut field_report)?;
        }
    }
    if options.kinds.contains(&Kind::Entry) {
        let bytes = std::fs::metadata(&options.setup.entry)?.len();
        report.add("entry", &Figures::from([("binary_mb".to_owned(), exact(bytes) / 1e6)]));
    }
    if judged && options.kinds.contains(&Kind::Entry) {
        let price = crate::price::of_a_send(if options.quick { 2.0 } else { 10.0 })?;
        report.add("entry", &Figures::from([("ping_price_us".to_owned(), price)]));
    }
    report.verdict = Some(noise.end());
    if let Some(file) = &options.json {
        std::fs::write(file, format!("{:#}\n", report.json()))?;
    }
    if !options.lane {
        report.print(judged)?;
    }
    Ok(report.faults_count == 0)
}

fn measure_one(
    options: &Options,
    kind: &Kind,
    folder: &Folder,
    round: usize,
    act: &mut impl FnMut(&mut Field<'_>, usize) -> io::Result<()>,
    tell: &mut impl FnMut(&Figures, &[String], u64),
) -> io::Result<()> {
    let engine = match options.engine {
        Some(address) => Engine::elsewhere(address),
        None => Engine::start(folder, &options.api)?,
    };
    let contender = Contender::start(kind, &options.setup, &engine, folder)?;
    let mut field = Field::new(contender, &engine, options.speech, options.quiet)?;
    if options.lane {
        // Drivers side by side go through their scenarios together.
        field.patience = 1;
    }
    let result = act(&mut field, round);
    let tally = &field.driver.tally;
    field.figures.insert("faults".to_owned(), exact(tally.faults_count));
    tell(&field.figures, &tally.faults, tally.faults_count);
    result
}

/// All rows of the table of figures that Entry must reach, with the peers, in one go.
pub(crate) fn targets(options: &Options) -> io::Result<bool> {
    let mut options = options.clone();
    if options.kinds.len() == 1 {
        options.kinds.extend([Kind::Haproxy, Kind::Nginx, Kind::Direct]);
    }
    let rounds = match options.rounds {
        0 if options.quick => 1,
        0 => 3,
        rounds => rounds,
    };
    let quick = options.quick;
    let dense = options.clone();
    let contenders = options.kinds.len();
    // Three stages, in each of them all contenders in turn, fresh from their start.
    options.kinds = [&options.kinds[..], &options.kinds, &options.kinds].concat();
    let mut done = 0;
    conduct(&options, rounds, true, |field, round| {
        let stage = done / contenders % 3;
        done += 1;
        match stage {
            0 => dense_stage(field, &dense, round, quick),
            1 => fast_stage(field, &dense, quick),
            _ => bare_stage(field, quick),
        }
    })
}

/// Many sessions: memory, PINGs, keys, neighbours of a flood, what is kept.
fn dense_stage(field: &mut Field<'_>, options: &Options, round: usize, quick: bool) -> io::Result<()> {
    hold(field, options, options.sessions)?;
    field.memory("idle")?;
    // What needs long and moves little from round to round is done once.
    if round == 0 {
        field.idle(if quick { 12.0 } else { 32.0 })?;
    }
    field.keys("keys", 1_000.0, if quick { 4.0 } else { 10.0 })?;
    let bytes = if quick { 50_000_000 } else { 200_000_000 };
    let typing = Some(1_000.0);
    field.flood(&Flood { name: "near", sessions: 8, bytes, write_bytes: 32_768, tty: true, typing })?;
    if round == 0 {
        field.move_bytes(mebibytes(if quick { 0.125 } else { 1.0 }))?;
        field.memory("moved")?;
    }
    field.leave_all(Leave::Close)?;
    field.after(if quick { 2.0 } else { 5.0 })?;
    field.figures.remove("start_rss_mib");
    Ok(())
}

/// A thousand sessions: fast keys, floods.
fn fast_stage(field: &mut Field<'_>, options: &Options, quick: bool) -> io::Result<()> {
    hold(field, options, 1_000.min(options.sessions))?;
    field.keys("fast", 8_000.0, if quick { 2.0 } else { 5.0 })?;
    let bytes = if quick { 20_000_000 } else { 100_000_000 };
    for (name, write_bytes, tty) in
        [("tty32", 32_768, true), ("tty4", 4_096, true), ("std32", 32_768, false), ("std4", 4_096, false)]
    {
        field.flood(&Flood { name, sessions: 8, bytes, write_bytes, tty, typing: None })?;
    }
    for told in ["sessions", "open_seconds", "start_rss_mib"] {
        field.figures.remove(told);
    }
    field.leave_all(Leave::Close)
}

/// Fresh from its start: openings, one that does not read, one that announces too much.
fn bare_stage(field: &mut Field<'_>, quick: bool) -> io::Result<()> {
    field.stall(if quick { 50_000_000 } else { 200_000_000 })?;
    field.giant()?;
    field.burst(2_000)?;
    field.leave_all(Leave::Close)?;
    field.opens(500.0, if quick { 500 } else { 2_000 })?;
    field.leave_all(Leave::Close)
}

/// A short load that asserts no time: every byte, and that everything comes back to where it began.
pub(crate) fn check(options: &Options) -> io::Result<bool> {
    /// Per session, so that it holds for any number of them; a debug build's slots are larger too.
    const KEPT_MIB_MAX: f64 = 16.0;
    let mut kept = Vec::new();
    let options = Options { speech: Speech::Mixed, ..options.clone() };
    let right = conduct(&options, 1, false, |field, _| {
        // No time is told.
        field.patience = 1;
        hold(field, &options, options.sessions)?;
        field.keys("keys", 1_000.0, 3.0)?;
        field.churn(300.0, 4.0)?;
        field.mix(120, 3.0)?;
        field.move_bytes(65_536)?;
        field.flood(&Flood {
            name: "near",
            sessions: 8,
            bytes: 20_000_000,
            write_bytes: 4_096,
            tty: false,
            typing: Some(300.0),
        })?;
        field.stall(30_000_000)?;
        field.giant()?;
        field.memory("memory")?;
        field.leave_all(Leave::Vanish)?;
        field.burst(2_000)?;
        field.vanish_at_once()?;
        field.burst(500)?;
        field.leave_all(Leave::Exit)?;
        field.after(1.0)?;
        for (name, limit) in [("descriptors_left", 0.0), ("execs_left", 0.0), ("kept_mib", KEPT_MIB_MAX)] {
            match field.figures.get(name) {
                Some(value) if *value <= limit => {}
                Some(value) => kept.push(format!("{name} is {value:.1}, and may be {limit}")),
                None if name == "execs_left" => kept.push("execs were not counted".to_owned()),
                None => {}
            }
        }
        Ok(())
    })?;
    let mut out = io::stdout().lock();
    for words in &kept {
        writeln!(out, "NOT AS IT WAS: {words}.")?;
    }
    if right && kept.is_empty() {
        writeln!(out, "Everything is as it was before.")?;
    }
    Ok(right && kept.is_empty())
}
