//! A real engine, as `scripts/with-dockerd` and `scripts/engines` start it, spoken to through the docker program:
//! what a container is and does is not Entry's own word.

use super::await_or;
use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The engine that this test runs beside.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    /// `unix://…`
    pub(crate) host: String,
    /// `tcp://…` of the same engine.
    pub(crate) tcp: String,
    /// `docker20`, `podman5`, …
    pub(crate) kind: String,
}

/// The engine; without one the test fails and says what to run.
pub(crate) fn engine() -> Engine {
    let told = |name: &str| {
        std::env::var(name).unwrap_or_else(|_| {
            panic!(
                "no engine to test against ({name} is not set): run scripts/with-dockerd cargo test --test docker"
            )
        })
    };
    Engine {
        kind: told("ENTRY_TEST_ENGINE_KIND"),
        host: told("DOCKER_HOST"),
        tcp: told("ENTRY_TEST_ENGINE_TCP"),
    }
}

/// A name that no other test has, in this run or beside it.
pub(crate) fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Engine {
    /// It is Podman behind Docker's API.
    pub(crate) fn is_podman(&self) -> bool {
        self.kind.starts_with("podman")
    }

    /// The docker program, not yet started.
    pub(crate) fn docker(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(words).env("DOCKER_HOST", &self.host).stdin(Stdio::null());
        command
    }

    /// Runs the docker program, whatever comes of it.
    pub(crate) fn try_ask(&self, words: &[&str]) -> Output {
        self.docker(words).output().expect("the docker program (of Debian's docker.io) runs")
    }

    /// Runs the docker program, which must succeed; gives what it printed, without the last line's end.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        let output = self.try_ask(words);
        assert!(output.status.success(), "docker {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned()
    }
}

/// A container of one test; removed when it is forgotten.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) engine: Engine,
    pub(crate) name: String,
    pub(crate) id: String,
}

impl Container {
    /// A running container with the image's own command, which waits.
    pub(crate) fn idle(image: &str) -> Container {
        Container::run(image, &[], &[])
    }

    /// A running container with these options of `docker run` and this command.
    pub(crate) fn run(image: &str, options: &[&str], command: &[&str]) -> Container {
        Container::named(&unique("entry"), image, options, command)
    }

    /// A running container of this name.
    pub(crate) fn named(name: &str, image: &str, options: &[&str], command: &[&str]) -> Container {
        let engine = engine();
        let mut words = vec!["run", "--detach", "--network=none", "--name", name];
        words.extend(options);
        words.push(image);
        words.extend(command);
        let id = engine.ask(&words);
        Container { engine, name: name.to_owned(), id }
    }

    /// Runs a script in it, beside Entry; gives what it printed.
    pub(crate) fn sh(&self, script: &str) -> String {
        self.engine.ask(&["exec", &self.name, "sh", "-c", script])
    }

    /// Runs a script in it that makes it end, and so may be ended itself before it can say how it went.
    pub(crate) fn sh_to_the_end(&self, script: &str) {
        self.engine.try_ask(&["exec", &self.name, "sh", "-c", script]);
    }

    /// The command lines of what runs in it, process by process; neither zombies nor the one that looks.
    pub(crate) fn processes(&self) -> Vec<String> {
        // A zombie has no command line. One look is one program: with many processes it must not be what they wait for.
        const LOOK: &str = "grep -Hz '' /proc/[0-9]*/cmdline";
        let listed = self.sh(&format!("{LOOK} 2>/dev/null; true"));
        let mut lines: BTreeMap<u32, String> = BTreeMap::new();
        for word in listed.split('\0') {
            let Some((file, word)) = word.split_once("/cmdline:") else { continue };
            let process = file.trim_start_matches("/proc/").parse().unwrap();
            let line = lines.entry(process).or_default();
            line.push_str(&word.replace('\n', " "));
            line.push(' ');
        }
        let is_own = |line: &String| line.contains("grep -Hz");
        lines.into_values().map(|line| line.trim().to_owned()).filter(|line| !is_own(line)).collect()
    }

    /// Waits until only these run in it beside the image's own command, each with this command line. Reapers and guards, which come and go, are not counted.
    pub(crate) fn await_only(&self, innocents: &[&str]) {
        let odd = || -> Vec<String> {
            let own = |line: &String| {
                line.starts_with("/bin/sh -c trap") || line == "sleep 3600" || line.contains("entry-")
            };
            let mut processes: Vec<String> = self.processes().into_iter().filter(|line| !own(line)).collect();
            let mut missing = Vec::new();
            for innocent in innocents {
                match processes.iter().position(|line| line == innocent) {
                    Some(at) => drop(processes.swap_remove(at)),
                    None => missing.push(format!("missing: {innocent}")),
                }
            }
            processes.extend(missing);
            processes
        };
        await_or(
            || format!("in {} is not what should be: {:?}", self.name, odd()),
            || odd().is_empty().then_some(()),
        );
    }

    /// Waits until a process whose command line contains this runs in it.
    pub(crate) fn await_process(&self, part: &str) {
        await_or(
            || format!("{part} does not run in {}: {:?}", self.name, self.processes()),
            || self.processes().iter().any(|line| line.contains(part)).then_some(()),
        );
    }

    /// Waits until only the image's own command runs in it.
    pub(crate) fn await_idle(&self) {
        // It ends `sleep` now and then to begin another.
        let own = |line: &String| line.starts_with("/bin/sh -c trap") || line == "sleep 3600";
        await_or(
            || format!("something is left in {}: {:?}", self.name, self.processes()),
            || self.processes().iter().all(own).then_some(()),
        );
    }

    /// Waits until a script succeeds in it.
    pub(crate) fn await_sh(&self, script: &str) {
        await_or(
            || format!("in {} this never came true: {script}", self.name),
            || self.engine.try_ask(&["exec", &self.name, "sh", "-c", script]).status.success().then_some(()),
        );
    }

    /// Waits until its log has so many lines: engines write it a little later than it is said.
    pub(crate) fn await_logged(&self, lines: usize) {
        let logged = || {
            let output = self.engine.try_ask(&["logs", &self.name]);
            [output.stdout, output.stderr].concat().iter().filter(|byte| **byte == b'\n').count()
        };
        await_or(
            || format!("{} has logged {} lines", self.name, logged()),
            || (logged() >= lines).then_some(()),
        );
    }

    /// Kills it, and waits until the engine lists it no more among those that run.
    pub(crate) fn kill(&self) {
        self.order(&["kill"]);
        let running = || self.engine.ask(&["ps", "--quiet", "--no-trunc"]);
        await_or(|| format!("{} still runs", self.name), || (!running().contains(&self.id)).then_some(()));
    }

    /// `docker pause`, `docker restart` and the like.
    pub(crate) fn order(&self, words: &[&str]) {
        let mut all = words.to_vec();
        all.push(&self.name);
        self.engine.ask(&all);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Killed first: Podman's forced removal gives a container 10 s to end, and a paused one can do nothing.
        let _ = self.engine.try_ask(&["kill", &self.name]);
        let _ = self.engine.try_ask(&["rm", "--force", &self.name]);
    }
}
