//! What sessions show, written down as asciicasts: `--record DIR`.
//!
//! | file | what it is |
//! |---|---|
//! | this one | the way from the loops to the thread that writes, and what may wait on it |
//! | [`writer`] | that thread: files, their flushing, what is done when they cannot be written |
//! | [`cast`] | events as lines |
//! | [`echo`] | which input may be recorded |
//! | `shelf` | the directory: names, and what is old enough to go |
//!
//! The loops never wait for a disk: they copy what is shown into a queue that is bounded in bytes, and go on. What finds no
//! room there is lost, counted, and marked in the recording where it is missing. A session that *must* be recorded is
//! never shown what is not: while its recording is behind, its engine is not read, and where it cannot be written the
//! session is ended.

pub mod cast;
pub mod echo;
mod shelf;
pub mod writer;

pub use cast::Version;

use crate::config;
use crate::crowd::Crowd;
use crate::engine::WindowSize;
use crate::gateway::{Observer, Seen, Wanted};
use crate::session::{Millis, SessionId};
use mio::Waker;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::SystemTime;
use writer::Writer;

/// What is counted of all recordings.
#[derive(Debug, Default)]
pub struct Figures {
    /// Recordings that go on.
    pub active: AtomicU64,
    /// Bytes that were written into files.
    pub written_bytes: AtomicU64,
    /// Bytes that sessions have shown, and that are in no recording though they should be.
    pub lost_bytes: AtomicU64,
}

/// Whose session it is, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub session: SessionId,
    /// Whose, where and what, for the title.
    pub title: String,
    /// What is run; none for a shell.
    pub command: Option<String>,
    /// The session ends where this cannot be written down.
    pub must: bool,
}

/// What the thread is told.
#[derive(Debug)]
enum Order {
    Begin(u64, Box<Beginning>),
    Event(u64, Millis, Event),
    /// The session is over; with its status and a sentence on how, where that is known.
    End(u64, Millis, Option<(Option<u8>, String)>),
    /// Say when everything before has been written.
    Tell(Sender<()>),
}

#[derive(Debug)]
struct Beginning {
    about: About,
    at: Millis,
    began: SystemTime,
    window: Option<WindowSize>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
enum Event {
    Output(Box<[u8]>),
    Input(Box<[u8]>),
    Resized(WindowSize),
    /// So many bytes are missing here.
    Gap(u64),
}

/// What an event takes in the queue beside its bytes.
const EVENT_BYTES: usize = 96;

impl Event {
    fn waiting_bytes(&self) -> usize {
        EVENT_BYTES
            + match self {
                Event::Output(bytes) | Event::Input(bytes) => bytes.len(),
                Event::Resized(_) | Event::Gap(_) => 0,
            }
    }
}

/// What a loop and the thread know of one recording together.
#[derive(Debug)]
struct Shared {
    waiting_bytes: AtomicUsize,
    /// Nothing of it can be written.
    failed: AtomicBool,
    /// The loop waits until less is waiting, and is to be woken.
    is_awaited: AtomicBool,
    waker: Arc<Waker>,
}

/// The way to the thread that writes.
#[derive(Debug, Clone)]
pub struct Recorder {
    orders: Sender<Order>,
    waiting_bytes: Arc<AtomicUsize>,
    figures: Arc<Figures>,
    next: Arc<AtomicU64>,
    input: bool,
}

impl Recorder {
    /// Writes from now on. What is noted of recordings that cannot be written goes to `crowd`.
    ///
    /// # Errors
    /// The directory cannot be written to, or the machine gives no thread.
    pub fn start(settings: &config::Record, crowd: Arc<Crowd>) -> io::Result<Recorder> {
        let (recorder, ordered) = Recorder::new(settings.input);
        let (figures, waiting) = (recorder.figures.clone(), recorder.waiting_bytes.clone());
        let mut writer = Writer::new(settings, crowd, figures, waiting)?;
        std::thread::Builder::new().name("recordings".to_owned()).spawn(move || writer.run(&ordered))?;
        Ok(recorder)
    }

    /// Without a writer yet: what it is told to do waits there.
    fn new(input: bool) -> (Recorder, Receiver<Order>) {
        let (orders, ordered) = channel();
        let recorder = Recorder {
            orders,
            waiting_bytes: Arc::default(),
            figures: Arc::default(),
            next: Arc::default(),
            input,
        };
        (recorder, ordered)
    }

    /// What was counted so far.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The recording of a session that is about to be opened, for its observers. `waker` wakes the session's loop when its
    /// engine may be read again.
    pub fn tape(&self, about: About, waker: Arc<Waker>) -> Box<dyn Observer> {
        let shared = Arc::new(Shared {
            waiting_bytes: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            is_awaited: AtomicBool::new(false),
            waker,
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Box::new(Tape {
            number,
            about: Some(about),
            must: false,
            lost_bytes: 0,
            shared,
            recorder: self.clone(),
        })
    }

    /// Waits until what was handed over is written, but not for long.
    pub fn flush(&self) {
        let (tell, told) = channel();
        if self.orders.send(Order::Tell(tell)).is_ok() {
            let _ = told.recv_timeout(config::RECORDED_END_TIME_LIMIT);
        }
    }
}

/// One recording, as its loop sees it.
#[derive(Debug)]
struct Tape {
    number: u64,
    /// Until it has begun.
    about: Option<About>,
    must: bool,
    /// What found no room since the last event that did.
    lost_bytes: u64,
    shared: Arc<Shared>,
    recorder: Recorder,
}

impl Observer for Tape {
    fn see(&mut self, at: Millis, seen: Seen<'_>) -> Wanted {
        match seen {
            Seen::Opened { window, .. } => {
                let Some(about) = self.about.take() else { return Wanted::More };
                self.must = about.must;
                let (began, shared) = (SystemTime::now(), self.shared.clone());
                self.recorder.figures.active.fetch_add(1, Ordering::Relaxed);
                self.order(Order::Begin(
                    self.number,
                    Box::new(Beginning { about, at, began, window, shared }),
                ));
            }
            // Before it was opened there is nothing to record.
            _ if self.about.is_some() => {}
            Seen::Output(bytes) => self.event(at, bytes.len(), || Event::Output(bytes.into())),
            Seen::Input(bytes) if self.recorder.input => {
                self.event(at, bytes.len(), || Event::Input(bytes.into()));
            }
            Seen::Input(_) => {}
            Seen::Resized(window) => self.event(at, 0, || Event::Resized(window)),
            Seen::Ended { status, text } => {
                self.gap(at);
                self.order(Order::End(self.number, at, Some((status, text.to_owned()))));
                return Wanted::Nothing;
            }
        }
        match self.must && self.shared.failed.load(Ordering::Relaxed) {
            true => Wanted::TheEnd("it must be recorded, and its recording cannot be written"),
            false => Wanted::More,
        }
    }

    /// Only where nothing may be lost.
    fn is_behind(&self) -> bool {
        let most = match self.recorder.waiting_bytes.load(Ordering::Relaxed) {
            // What it has in the queue is written one day, and then its loop is woken.
            all if all >= config::RECORDED_WAITING_BYTES_MAX => 1,
            _ => HALF_BYTES,
        };
        if !self.must || self.shared.waiting_bytes.load(Ordering::Relaxed) < most {
            return false;
        }
        self.shared.is_awaited.store(true, Ordering::SeqCst);
        // It may have been written just now, before anybody knew that this one waits.
        self.shared.waiting_bytes.load(Ordering::SeqCst) >= most
    }
}

/// The other half is room for what comes in one turn.
const HALF_BYTES: usize = config::RECORDED_WAITING_BYTES_PER_SESSION_MAX / 2;

impl Tape {
    fn order(&self, order: Order) {
        // The thread ends after all who give it orders.
        let _ = self.recorder.orders.send(order);
    }

    /// Hands an event over, if there is room for it.
    fn event(&mut self, at: Millis, bytes: usize, event: impl FnOnce() -> Event) {
        let (all, own) = (&self.recorder.waiting_bytes, &self.shared.waiting_bytes);
        let has_room = own.load(Ordering::Relaxed) + bytes + EVENT_BYTES
            <= config::RECORDED_WAITING_BYTES_PER_SESSION_MAX
            && (self.must || all.load(Ordering::Relaxed) + bytes <= config::RECORDED_WAITING_BYTES_MAX);
        if !has_room {
            self.lost_bytes += bytes as u64;
            self.recorder.figures.lost_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            if self.must {
                self.shared.failed.store(true, Ordering::Relaxed);
            }
            return;
        }
        self.gap(at);
        self.hand_over(at, event());
    }

    fn gap(&mut self, at: Millis) {
        let lost_bytes = std::mem::take(&mut self.lost_bytes);
        if lost_bytes > 0 {
            self.hand_over(at, Event::Gap(lost_bytes));
        }
    }

    fn hand_over(&self, at: Millis, event: Event) {
        let bytes = event.waiting_bytes();
        self.shared.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.recorder.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.order(Order::Event(self.number, at, event));
    }
}

/// A session that is freed without a word of its end.
impl Drop for Tape {
    fn drop(&mut self) {
        if self.about.is_none() {
            self.order(Order::End(self.number, 0, None));
        }
    }
}
