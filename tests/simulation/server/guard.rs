//! The stream of a guard: what it is told, and what it does when its gateway is gone.

use super::{Act, Ending, Manners, Server, frame};
use crate::engine::{Engine, Exec};
use crate::network::Network;
use entry::session::Millis;

/// How long a forsaken guard waits for another one.
const FORSAKEN_MILLISECONDS: Millis = 3_000;

impl Server {
    /// A guard, which does nothing but note whom it is told of (`guard.sh`).
    pub(super) fn guard(
        &mut self,
        engine: &mut Engine,
        id: &str,
        manners: &mut Manners,
        network: &mut Network,
        now: Millis,
    ) -> Option<Millis> {
        let exec = engine.execs.get(id).expect("the exec of a guard");
        let container = engine.containers.get(&exec.container).expect("the container of an exec");
        if self.ends.is_some() {
            return None;
        }
        if now < container.paused_until {
            return Some(container.paused_until);
        }
        if !exec.alive {
            self.ends = Some(Ending::Well);
            return Some(now);
        }
        if !std::mem::replace(&mut self.stands, true) {
            self.outgoing.extend(frame(1, b"ready\n"));
            self.act_at = now;
        }
        if self.hears(engine, id, network, manners.piece) {
            self.ends = Some(Ending::Well);
            return Some(now);
        }
        while now >= self.act_at {
            match manners.acts.pop_front()? {
                Act::Wait(milliseconds) => self.act_at = now + milliseconds,
                Act::Break(reset) => {
                    if reset {
                        network.reset(self.line);
                    } else {
                        network.end(self.line);
                    }
                    self.outgoing.clear();
                    self.forsaken_at = Some(now);
                    return Some(now);
                }
                other => panic!("no guard does this: {other:?}"),
            }
        }
        Some(self.act_at)
    }

    /// What a guard is told; whether that was a farewell.
    fn hears(&mut self, engine: &mut Engine, id: &str, network: &mut Network, piece: usize) -> bool {
        self.inbox.extend(network.take(self.line, piece));
        while let Some(end) = self.inbox.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.inbox.drain(..=end).collect();
            let line = String::from_utf8(line).unwrap();
            let named = |rest: &str| u64::from_str_radix(rest.trim(), 16).expect("a session's number");
            let own = engine.execs.get_mut(id).expect("the exec of a guard");
            let (container, user) = (own.container, own.user.clone());
            let wards = own.wards.as_mut().expect("a guard");
            match line.split_at(1) {
                ("\n", "") => {}
                ("+", rest) => {
                    let number = named(rest);
                    assert!(wards.insert(number), "guard {} is told of {number} twice", self.visit);
                    let here = |exec: &Exec| {
                        exec.visit as u64 == number && exec.container == container && exec.user == user
                    };
                    assert!(engine.execs.values().any(here), "{number} is not where guard {} is", self.visit);
                }
                ("-", rest) => {
                    let number = named(rest);
                    assert!(wards.remove(&number), "guard {} never heard of {number}", self.visit);
                }
                _ => {
                    assert_eq!(line, "bye\n");
                    own.alive = false;
                    own.exit_code = Some(0);
                    return true;
                }
            }
        }
        false
    }

    /// A guard whose input has ended without a farewell: where no other one comes, it ends what is left (`orphans.sh`).
    pub(super) fn forsaken(
        &mut self,
        engine: &mut Engine,
        id: &str,
        network: &mut Network,
        now: Millis,
    ) -> Option<Millis> {
        if self.forsaken_at.is_none() {
            // What was on its way.
            self.hears(engine, id, network, usize::MAX);
        }
        let since = *self.forsaken_at.get_or_insert(now);
        let is_over = !engine.execs[id].alive;
        if !is_over && now < since + FORSAKEN_MILLISECONDS {
            engine.execs.get_mut(id).expect("the exec of a guard").is_forsaken = true;
            return Some(since + FORSAKEN_MILLISECONDS);
        }
        let container = engine.execs[id].container;
        let paused_until = engine.containers[&container].paused_until;
        if !is_over && now < paused_until {
            return Some(paused_until);
        }
        self.is_over = true;
        if is_over {
            return None;
        }
        let guards = |exec: &Exec| exec.container == container && exec.alive && exec.wards.is_some();
        let is_relieved = engine.execs.values().any(|exec| guards(exec) && !exec.is_forsaken);
        let own = engine.execs.get_mut(id).expect("the exec of a guard");
        own.alive = false;
        let wards = own.wards.clone().unwrap_or_default();
        if is_relieved {
            return None;
        }
        for exec in engine.execs.values_mut() {
            if exec.container == container && exec.alive && wards.contains(&(exec.visit as u64)) {
                exec.alive = false;
                exec.exit_code = Some(129);
                self.has_acted = true;
            }
        }
        None
    }
}
