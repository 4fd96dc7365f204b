//! Which guards one loop has sent where. They are entries as sessions are; here is only who stands at which post.

use super::Pulse;
use super::slab::Key;
use crate::session::Post;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The posts of one loop.
#[derive(Debug)]
pub struct Guards {
    posts: HashMap<Post, Key>,
    /// How many descriptors there are for them.
    posts_max: usize,
    /// It was said that there are more containers than that.
    told: bool,
    /// Where it is told how many there are.
    pulse: Arc<Pulse>,
}

impl Guards {
    /// Of a loop that has descriptors for so many, and tells their number there.
    pub fn new(posts_max: usize, pulse: Arc<Pulse>) -> Guards {
        Guards { posts: HashMap::new(), posts_max, told: false, pulse }
    }

    /// Who stands there, or is on the way.
    pub fn at(&self, post: &Post) -> Option<Key> {
        self.posts.get(post).copied()
    }

    /// There may be no more of them.
    pub fn are_enough(&mut self) -> bool {
        let enough = self.posts.len() >= self.posts_max;
        if enough && !std::mem::replace(&mut self.told, true) {
            log::warn!(
                "{} containers have a guard, and there are no descriptors for more: raise their limit (ulimit -n)",
                self.posts.len()
            );
        }
        enough
    }

    /// This guard is sent there.
    pub fn post(&mut self, post: Post, guard: Key) {
        self.posts.insert(post, guard);
        self.tell();
    }

    /// This guard has left; another may have been sent there already.
    pub fn relieve(&mut self, post: &Post, guard: Key) {
        if self.at(post) == Some(guard) {
            self.posts.remove(post);
            self.tell();
        }
    }

    fn tell(&self) {
        self.pulse.guards.store(self.posts.len() as u64, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.posts.len()
    }
}
