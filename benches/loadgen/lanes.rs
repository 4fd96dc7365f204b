//! One run in several processes, where one has too few descriptors: each lane has a driver, a gateway and an engine of
//! its own, and all begin each scenario together.

use crate::driver::exact;
use crate::measure::Noise;
use crate::options::Options;
use crate::report::{Report, merge};
use crate::rig::Folder;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// Starts the lanes with this process's own arguments, conducts them, and puts their reports together.
pub(crate) fn run(options: &Options) -> io::Result<bool> {
    let folder = Folder::new()?;
    let noise = Noise::begin();
    let mut lanes = Vec::new();
    for number in 0..options.processes {
        let share =
            options.sessions / options.processes + u64::from(number < options.sessions % options.processes);
        let mut command = Command::new(std::env::current_exe()?);
        command.args(own_arguments());
        command.args(["--lane", "--processes", "1", "--sessions", &share.to_string(), "--json"]);
        command.arg(folder.path(&format!("lane-{number}.json")));
        if let Some(rate) = options.rate {
            command.args(["--rate", &(rate / exact(options.processes)).to_string()]);
        }
        if number > 0 {
            command.arg("--quiet");
        }
        crate::sys::dies_with_us(&mut command);
        lanes.push(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    }
    let outs: Vec<_> = lanes.iter_mut().filter_map(|lane| lane.stdout.take()).map(BufReader::new).collect();
    conduct(&mut lanes, outs)?;
    let mut right = true;
    for lane in &mut lanes {
        right &= lane.wait()?.success();
    }
    let mut reports = Vec::new();
    for number in 0..options.processes {
        let text = std::fs::read_to_string(folder.path(&format!("lane-{number}.json")))?;
        reports.push(serde_json::from_str(&text).map_err(io::Error::other)?);
    }
    let (figures, faults, faults_count) = merge(&reports);
    let mut report = Report::new(options.sessions);
    report.add("entry", &figures);
    report.add_faults("entry", &faults, faults_count);
    report.verdict = Some(noise.end());
    if let Some(file) = &options.json {
        std::fs::write(file, format!("{:#}\n", report.json()))?;
    }
    report.print(false)?;
    Ok(right)
}

/// What this process was asked for: later words win over earlier ones.
fn own_arguments() -> impl Iterator<Item = std::ffi::OsString> {
    std::env::args_os().skip(1).filter(|word| word != "--bench")
}

/// Nobody begins a scenario before all have come to it.
fn conduct(lanes: &mut [Child], mut outs: Vec<impl BufRead>) -> io::Result<()> {
    loop {
        let mut points = Vec::new();
        for out in &mut outs {
            let mut line = String::new();
            out.read_line(&mut line)?;
            points.push(line);
        }
        if points.iter().all(String::is_empty) {
            return Ok(());
        }
        for lane in lanes.iter_mut() {
            if let Some(input) = &mut lane.stdin {
                // One that has ended already has told why.
                let _ = input.write_all(b"go\n");
            }
        }
    }
}
