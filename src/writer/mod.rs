//! Threads that write, so that no loop ever waits for a disk, a pipe or somebody's answer.
//!
//! ```text
//! loops ── offer ──▶ queue with an end ──▶ a thread ──▶ Work: a file, syslog, a service
//!             │ no room: counted, and the loop goes on
//! ```
//! The loops hand things over and go on. What the thread does with them may take as long as it likes: what comes meanwhile
//! waits, up to a number and up to so many bytes, and what finds no room is counted as lost.
//!
//! | file | what it holds |
//! |---|---|
//! | this one | the queue, and its thread |
//! | [`sink`] | where lines go: a file, standard output, syslog |
//!
//! Knows nothing of sessions, nor of what it writes.

pub mod sink;

pub use sink::{Destination, Sink};

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

/// What a thread does with what it is handed.
pub trait Work<T>: Send + 'static {
    /// Does it, however long that takes: what comes meanwhile waits behind it. It may be left for [`rest`](Work::rest).
    fn take(&mut self, item: T, figures: &Figures);

    /// Nothing waits, or somebody waits for what was taken to be done. It is called again with the next thing, or after
    /// this time if nothing comes.
    fn rest(&mut self, _figures: &Figures) -> Option<Duration> {
        None
    }

    /// Files may have been renamed: what is open is opened anew.
    fn reopen(&mut self) {}
}

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Things.
    pub items: usize,
    /// Bytes of them all.
    pub bytes: usize,
}

/// How it goes.
#[derive(Debug, Default)]
pub struct Figures {
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    lost: AtomicU64,
    /// Files are to be opened anew: a wish that does not wait for room.
    reopen: AtomicBool,
    ended: AtomicBool,
}

impl Figures {
    /// How many wait, with the one that is being done.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many found no room since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether files are to be opened anew; told once. For who tries one thing again and again: otherwise
    /// [`Work::reopen`] is called.
    pub fn wants_reopening(&self) -> bool {
        self.reopen.swap(false, Ordering::Acquire)
    }

    /// Nobody waits any more for what is still to be done: the program ends.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

enum Order<T> {
    Do(T, usize),
    /// There may be something else to do.
    Nudge,
    /// Say when everything before has been done.
    Tell(SyncSender<()>),
}

/// The way to a thread.
pub struct Queue<T> {
    orders: SyncSender<Order<T>>,
    figures: Arc<Figures>,
    room: Room,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue { orders: self.orders.clone(), figures: self.figures.clone(), room: self.room }
    }
}

/// What waits may be secret.
impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("figures", &self.figures)
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Queue<T> {
    /// Starts a thread of this name (at most 15 bytes).
    ///
    /// # Errors
    /// The machine gives no thread.
    pub fn start(name: &str, room: Room, mut work: impl Work<T>) -> io::Result<Queue<T>> {
        let (orders, ordered) = sync_channel(room.items);
        let figures: Arc<Figures> = Arc::default();
        let queue = Queue { orders, figures: figures.clone(), room };
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || run(&ordered, &mut work, &figures))?;
        Ok(queue)
    }

    /// Hands something over that takes so many bytes; whether there was room for it. Waits for nobody.
    pub fn offer(&self, item: T, bytes: usize) -> bool {
        let figures = &self.figures;
        let there = figures.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        figures.waiting.fetch_add(1, Ordering::Relaxed);
        let fits = there.saturating_add(bytes) <= self.room.bytes;
        let is_taken = fits && self.orders.try_send(Order::Do(item, bytes)).is_ok();
        if !is_taken {
            figures.done(bytes);
            figures.lost.fetch_add(1, Ordering::Relaxed);
        }
        is_taken
    }

    /// How it goes.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// What is open is opened anew, before anything that is offered from now on is done.
    pub fn reopen(&self) {
        self.figures.reopen.store(true, Ordering::Release);
        self.nudge();
    }

    /// Has the thread come to rest anew, once nothing waits.
    pub fn nudge(&self) {
        // Where there is no room, something waits, and it rests behind that.
        let _ = self.orders.try_send(Order::Nudge);
    }

    /// Waits for what is still to be done, but no longer than this.
    pub fn finish(&self, limit: Duration) {
        let (tell, told) = sync_channel(1);
        let mut order = Order::Tell(tell);
        let until = std::time::Instant::now() + limit;
        while let Err(refused) = self.orders.try_send(order) {
            let std::sync::mpsc::TrySendError::Full(again) = refused else { return };
            if std::time::Instant::now() >= until {
                return self.figures.ended.store(true, Ordering::Relaxed);
            }
            order = again;
            std::thread::sleep(LOOK_INTERVAL);
        }
        // Whether it came or took too long, there is no more to do.
        let _ = told.recv_timeout(until.saturating_duration_since(std::time::Instant::now()));
        self.figures.ended.store(true, Ordering::Relaxed);
    }
}

/// How often it is looked for room at the end.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

impl Figures {
    /// It is done, or found no room.
    fn done(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A thread that has just had something to do waits so long for more before it has itself woken: to wake it for each thing
/// costs who hands them over more than all the rest of that.
const GATHER_INTERVAL: Duration = Duration::from_millis(2);

fn run<T>(orders: &Receiver<Order<T>>, work: &mut impl Work<T>, figures: &Figures) {
    let mut was_busy = false;
    loop {
        let order = match orders.try_recv() {
            Ok(order) => order,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                let patience = work.rest(figures);
                if std::mem::take(&mut was_busy) {
                    std::thread::sleep(GATHER_INTERVAL);
                    continue;
                }
                let order = match patience {
                    Some(patience) => orders.recv_timeout(patience),
                    None => orders.recv().map_err(RecvTimeoutError::from),
                };
                match order {
                    Ok(order) => order,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        };
        was_busy = true;
        if figures.wants_reopening() {
            work.reopen();
        }
        match order {
            Order::Do(item, bytes) => {
                work.take(item, figures);
                figures.done(bytes);
            }
            Order::Nudge => {}
            Order::Tell(tell) => {
                work.rest(figures);
                let _ = tell.try_send(());
            }
        }
    }
    work.rest(figures);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    /// Waits at its gate, then passes on what it is handed.
    struct Gate {
        open: Receiver<()>,
        out: Sender<&'static str>,
    }

    impl Work<&'static str> for Gate {
        fn take(&mut self, item: &'static str, _: &Figures) {
            let _ = self.open.recv();
            let _ = self.out.send(item);
        }

        fn reopen(&mut self) {
            let _ = self.out.send("reopened");
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_nobody_waits() {
        let (opens, open) = channel();
        let (out, taken) = channel();
        let queue = Queue::start("test", Room { items: 2, bytes: 10 }, Gate { open, out }).unwrap();
        assert!(queue.offer("first", 6));
        assert!(!queue.offer("too much", 6), "by bytes");
        assert!(queue.offer("second", 4));
        while queue.offer("empty", 0) {}
        assert_eq!(queue.figures().lost(), 2, "the last one by number");
        let waiting = queue.figures().waiting();
        assert!((2..=3).contains(&waiting), "two, and perhaps the one that is being done: {waiting}");
        drop(opens);
        queue.finish(Duration::from_secs(60));
        assert_eq!(
            (queue.figures().waiting(), queue.figures().waiting_bytes.load(Ordering::Relaxed)),
            (0, 0)
        );
        assert_eq!(taken.try_iter().take(2).collect::<Vec<_>>(), ["first", "second"]);
    }

    #[test]
    fn who_is_slow_is_not_waited_for_in_the_end_and_a_wish_to_reopen_is_not_lost() {
        let (opens, open) = channel();
        let (out, taken) = channel();
        let queue = Queue::start("test", Room { items: 1, bytes: 9 }, Gate { open, out }).unwrap();
        while queue.offer("x", 1) {}
        queue.reopen();
        queue.finish(Duration::from_millis(10));
        assert!(queue.figures().has_ended());
        drop(opens);
        drop(queue);
        // The first was under way when the wish came, or not; whatever came behind it found the file opened anew.
        let all: Vec<_> = taken.iter().collect();
        assert!(all.contains(&"reopened") && all.last() == Some(&"x"), "{all:?}");
    }

    /// Leaves all it takes for its rest.
    struct Late(Vec<&'static str>, Sender<Vec<&'static str>>);

    impl Work<&'static str> for Late {
        fn take(&mut self, item: &'static str, _: &Figures) {
            self.0.push(item);
        }

        fn rest(&mut self, _: &Figures) -> Option<Duration> {
            let _ = self.1.send(std::mem::take(&mut self.0));
            None
        }
    }

    #[test]
    fn what_is_left_for_later_is_done_when_somebody_waits_for_it_and_at_the_end() {
        let (out, done) = channel();
        let queue = Queue::start("test", Room { items: 9, bytes: 9 }, Late(Vec::new(), out)).unwrap();
        for item in ["a", "b", "c"] {
            assert!(queue.offer(item, 1));
        }
        queue.finish(Duration::from_secs(60));
        assert_eq!(done.try_iter().flatten().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(queue.offer("d", 1));
        drop(queue);
        assert_eq!(done.iter().flatten().collect::<Vec<_>>(), ["d"]);
    }
}
