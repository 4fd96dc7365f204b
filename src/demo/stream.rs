//! Moving the bytes of a hijacked connection: client ⇄ a process, or a viewer's tap of a container's output.
//!
//! One thread and one poll for all directions. Each direction holds one buffer; while it is not empty its source is
//! not read, so that a client that does not read stalls the process, and a process that does not read stalls the
//! client. Knows descriptors and frames, not containers.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::http::Stream;
use crate::sys::{self, Watch};

/// The most one frame carries, in bytes; what was seen of real engines.
const FRAME_BYTES_MAX: usize = 32 * 1024;
/// How long an exec without terminal may be held open by a child that has its pipes, after its own end.
const HELD_PIPES: Duration = Duration::from_secs(2);
/// What a terminal or a pipe can still hold after its process, in bytes: more is a background child that floods.
const REST_BYTES: usize = 256 * 1024;
/// How long a client may take to close after our end; until then what it still sends is thrown away,
/// because closing over unread bytes would take our last output from it.
const LINGER: Duration = Duration::from_secs(5);

/// Which of a container's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Stdout = 1,
    Stderr = 2,
}

/// Appends bytes to what goes to a client, in frames of the Docker Engine or as they are.
pub(super) fn push_framed(into: &mut Vec<u8>, channel: Channel, bytes: &[u8], framed: bool) {
    if !framed {
        into.extend_from_slice(bytes);
        return;
    }
    for piece in bytes.chunks(FRAME_BYTES_MAX) {
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        into.extend_from_slice(&[channel as u8, 0, 0, 0]);
        into.extend_from_slice(&length.to_be_bytes());
        into.extend_from_slice(piece);
    }
}

/// What the end of the client's input does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtInputEnd {
    /// The process sees its end of file (an exec without terminal).
    CloseInput,
    /// The stream ends at once, and its output with it; the process stays (a terminal, and attach).
    EndStream,
}

/// One output of a process.
pub(super) struct Output {
    pub(super) file: Arc<File>,
    pub(super) channel: Channel,
    /// Not delivered, it is read all the same, so that the process does not stall.
    pub(super) delivered: bool,
}

/// A stream to run.
pub(super) struct Pump {
    /// `None`: the client's bytes are not read.
    pub(super) input: Option<Arc<File>>,
    pub(super) at_input_end: AtInputEnd,
    pub(super) outputs: Vec<Output>,
    pub(super) framed: bool,
    /// The one output is a terminal: it is at its end when the process is, whoever else still holds it.
    pub(super) tty: bool,
    /// Its other end closes when the process has ended, and the stream ends with it. Without one, the stream ends
    /// with its outputs, and when its client is gone.
    pub(super) exit: Option<UnixStream>,
}

impl Pump {
    /// Runs until the stream is over; when the client leaves before the process, the outputs are read and thrown
    /// away until that ends. `missed` is called when there is output and the client has gone without a word.
    pub(super) fn run(self, client: Option<Arc<Stream>>, missed: &mut dyn FnMut()) {
        let usable = client.as_ref().is_none_or(|client| client.set_nonblocking().is_ok());
        let mut flow = Flow {
            reads_client: self.input.is_some() && client.is_some(),
            client: client.filter(|_| usable),
            pump: self,
            to_client: Vec::new(),
            to_process: Vec::new(),
            exited_at: None,
            read_since_exit: 0,
            owes_client: false,
        };
        flow.run(missed);
        if let Some(client) = flow.client.take() {
            // The descriptors of the process go first: a lingering client must not hold them.
            drop(flow);
            linger(&client);
        }
    }
}

#[derive(Clone, Copy)]
enum Place {
    Client,
    Input,
    Output(usize),
    Exit,
}

/// What a read of an output gave.
#[derive(PartialEq, Eq)]
enum Taken {
    Bytes,
    Nothing,
    End,
}

struct Flow {
    pump: Pump,
    client: Option<Arc<Stream>>,
    /// The client's input has not ended.
    reads_client: bool,
    to_client: Vec<u8>,
    to_process: Vec<u8>,
    exited_at: Option<Instant>,
    read_since_exit: usize,
    /// The client left on its own; output from now on is output it missed.
    owes_client: bool,
}

impl Flow {
    fn run(&mut self, missed: &mut dyn FnMut()) {
        loop {
            self.look_for_the_end();
            let has_ended =
                self.pump.outputs.is_empty() && (self.pump.exit.is_none() || self.exited_at.is_some());
            let has_nobody = self.client.is_none() && self.pump.exit.is_none();
            if has_nobody || (has_ended && self.to_client.is_empty()) {
                return;
            }
            let Ok(ready) = self.wait() else { return };
            // Backwards, because an output that ends leaves its place.
            for (place, readable, writable, closed) in ready.into_iter().rev() {
                match place {
                    Place::Client if writable => self.write_client(),
                    Place::Client if readable => self.read_client(),
                    Place::Client if closed => self.lose_client(),
                    Place::Input if writable => self.write_process(),
                    Place::Output(at) if readable => {
                        if self.take(at) == Taken::Bytes && self.client.is_none() && self.owes_client {
                            self.owes_client = false;
                            missed();
                        }
                    }
                    Place::Exit if readable => self.note_exit(),
                    Place::Client | Place::Input | Place::Output(_) | Place::Exit => {}
                }
            }
        }
    }

    /// After the process: what a terminal holds can be read without waiting, so an empty one is at its end; pipes
    /// end by themselves, or are given up after a time. Either way nothing is lost because a client is slow.
    fn look_for_the_end(&mut self) {
        let Some(exited_at) = self.exited_at else { return };
        let is_due = self.pump.tty || exited_at.elapsed() >= HELD_PIPES;
        while is_due && self.to_client.is_empty() && !self.pump.outputs.is_empty() {
            if self.take(0) == Taken::Nothing || self.read_since_exit > REST_BYTES {
                self.pump.outputs.swap_remove(0);
            }
        }
    }

    fn wait(&self) -> io::Result<Vec<(Place, bool, bool, bool)>> {
        let mut places = Vec::new();
        let mut watches = Vec::new();
        let mut watch = |place: Place, descriptor, read: bool, write: bool| {
            places.push(place);
            watches.push(Watch { descriptor, read, write, closed: false });
        };
        for (at, output) in self.pump.outputs.iter().enumerate() {
            if self.to_client.is_empty() || !output.delivered {
                watch(Place::Output(at), output.file.as_fd(), true, false);
            }
        }
        if let Some(input) = self.pump.input.as_ref().filter(|_| !self.to_process.is_empty()) {
            watch(Place::Input, input.as_fd(), false, true);
        }
        if let Some(client) = &self.client {
            let (read, write) = (self.reads_client && self.to_process.is_empty(), !self.to_client.is_empty());
            // A client that left is told by its end, which is read; where nothing is read, by poll.
            if read || write || !self.reads_client {
                watch(Place::Client, client.as_fd(), read, write);
            }
        }
        if let Some(exit) = self.pump.exit.as_ref().filter(|_| self.exited_at.is_none()) {
            watch(Place::Exit, exit.as_fd(), true, false);
        }
        let held = self.exited_at.filter(|_| !self.pump.tty && self.to_client.is_empty());
        let timeout = held.map(|at| HELD_PIPES.saturating_sub(at.elapsed()));
        sys::wait_ready(&mut watches, timeout)?;
        let found = places.into_iter().zip(&watches);
        Ok(found.map(|(place, watch)| (place, watch.read, watch.write, watch.closed)).collect())
    }

    fn take(&mut self, at: usize) -> Taken {
        let output = &self.pump.outputs[at];
        let mut bytes = [0; FRAME_BYTES_MAX];
        match (&*output.file).read(&mut bytes) {
            Ok(count) if count > 0 => {
                if self.exited_at.is_some() {
                    self.read_since_exit += count;
                }
                if output.delivered && self.client.is_some() {
                    push_framed(&mut self.to_client, output.channel, &bytes[..count], self.pump.framed);
                    self.write_client();
                }
                Taken::Bytes
            }
            Err(error) if may_be_tried_again(&error) => Taken::Nothing,
            // A terminal that nobody holds gives an error instead of an end.
            Ok(_) | Err(_) => {
                self.pump.outputs.swap_remove(at);
                Taken::End
            }
        }
    }

    fn write_client(&mut self) {
        let Some(client) = self.client.clone() else { return };
        match (&*client).write(&self.to_client) {
            Ok(count) => {
                self.to_client.drain(..count);
            }
            Err(error) if may_be_tried_again(&error) => {}
            Err(_) => self.lose_client(),
        }
    }

    fn read_client(&mut self) {
        let Some(client) = self.client.clone() else { return };
        let mut bytes = [0; FRAME_BYTES_MAX];
        match (&*client).read(&mut bytes) {
            Ok(count) if count > 0 => {
                self.to_process.extend_from_slice(&bytes[..count]);
                self.write_process();
            }
            Err(error) if may_be_tried_again(&error) => {}
            Ok(_) if self.pump.at_input_end == AtInputEnd::CloseInput => {
                self.reads_client = false;
                self.pump.input = None;
            }
            Ok(_) => {
                client.shutdown(Shutdown::Both);
                self.lose_client();
                self.owes_client = false;
            }
            Err(_) => self.lose_client(),
        }
    }

    fn write_process(&mut self) {
        let Some(input) = &self.pump.input else { return };
        match (&**input).write(&self.to_process) {
            Ok(count) => {
                self.to_process.drain(..count);
            }
            Err(error) if may_be_tried_again(&error) => {}
            // The process has closed its input: what comes for it waits, as it does at the engine.
            Err(_) => self.give_up_input(),
        }
        if self.to_process.is_empty() && self.client.is_none() {
            self.pump.input = None;
        }
    }

    fn lose_client(&mut self) {
        self.client = None;
        self.owes_client = true;
        self.reads_client = false;
        self.to_client.clear();
        if self.to_process.is_empty() {
            self.pump.input = None;
        }
    }

    fn give_up_input(&mut self) {
        self.pump.input = None;
        self.to_process.clear();
        self.reads_client = false;
    }

    fn note_exit(&mut self) {
        self.exited_at = Some(Instant::now());
        self.give_up_input();
    }
}

fn may_be_tried_again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Says that there is no more, and waits for the client to say so, too.
pub(super) fn linger(client: &Stream) {
    client.shutdown(Shutdown::Write);
    let until = Instant::now() + LINGER;
    let mut bytes = [0; FRAME_BYTES_MAX];
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        let mut watches = [Watch { descriptor: client.as_fd(), read: true, write: false, closed: false }];
        if sys::wait_ready(&mut watches, Some(left)).is_err() {
            return;
        }
        if watches[0].read {
            let mut reader = client;
            match reader.read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if may_be_tried_again(&error) => {}
                Err(_) => return,
            }
        }
    }
}
