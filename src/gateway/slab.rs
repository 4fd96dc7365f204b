//! Entries in slots that are used again; a key carries the slot's generation, so a stale one finds nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Names an entry for as long as it lives, and nothing afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// The entry's slot.
    pub index: u32,
    pub(super) generation: u32,
}

/// Entries by key. The lowest free slot is taken first and free slots at the end are given up, so that the memory of
/// many follows when they are gone.
#[derive(Debug)]
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    /// Every free slot, and some that have been given up or taken since: who takes one looks.
    free: BinaryHeap<Reverse<u32>>,
    len: usize,
    /// Of the newest entry; not kept in the slots, since they come and go.
    generation: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    entry: Option<T>,
}

/// Slots that are kept in any case.
const SLOTS_KEPT: usize = 64;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { slots: Vec::new(), free: BinaryHeap::new(), len: 0, generation: 0 }
    }
}

impl<T> Slab<T> {
    /// No entries.
    pub fn new() -> Self {
        Slab::default()
    }

    /// Puts an entry into the lowest free slot, or a new one.
    pub fn insert(&mut self, entry: T) -> Key {
        self.generation = self.generation.wrapping_add(1);
        self.len += 1;
        let slot = Slot { generation: self.generation, entry: Some(entry) };
        while let Some(Reverse(index)) = self.free.pop() {
            if let Some(place) = self.slots.get_mut(index as usize)
                && place.entry.is_none()
            {
                *place = slot;
                return Key { index, generation: self.generation };
            }
        }
        self.slots.push(slot);
        // Descriptors end long before four thousand million slots do.
        let index = u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX);
        Key { index, generation: self.generation }
    }

    /// The entry, while it lives.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.entry.as_mut() } else { None }
    }

    /// Takes the entry out; its key finds nothing from now on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let entry = slot.entry.take()?;
        self.len -= 1;
        self.free.push(Reverse(key.index));
        self.give_up_end();
        Some(entry)
    }

    /// Gives up free slots at the end, and their memory once it is much.
    fn give_up_end(&mut self) {
        while self.slots.last().is_some_and(|slot| slot.entry.is_none()) {
            self.slots.pop();
        }
        if self.slots.is_empty() {
            self.free.clear();
        }
        if self.slots.capacity() > SLOTS_KEPT.max(self.slots.len() * 4) {
            self.slots.shrink_to(SLOTS_KEPT.max(self.slots.len() * 2));
        }
    }

    /// How many slots there are: every index is below it.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The key of whatever is in a slot now.
    #[inline]
    pub fn key_at(&self, index: u32) -> Option<Key> {
        let slot = self.slots.get(index as usize)?;
        slot.entry.as_ref().map(|_| Key { index, generation: slot.generation })
    }

    /// The key of the first entry that is so.
    pub fn key_of(&self, is: impl Fn(&T) -> bool) -> Option<Key> {
        let found = |slot: &&Slot<T>| slot.entry.as_ref().is_some_and(&is);
        let (index, slot) = (0..).zip(&self.slots).find(|(_, slot)| found(slot))?;
        Some(Key { index, generation: slot.generation })
    }

    /// The keys of all entries, by slot.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        (0..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.entry.is_some())
            .map(|(index, slot)| Key { index, generation: slot.generation })
    }

    /// All entries, by slot.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref())
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.index, first.index, "the slot is used again");
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(second).copied(), Some("second"));
        assert_eq!((slab.len(), slab.key_at(0)), (1, Some(second)));
        assert_eq!(slab.keys().collect::<Vec<_>>(), [second]);
    }

    #[test]
    fn the_memory_of_many_follows_them() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..10_000).map(|number| slab.insert(number)).collect();
        for key in &keys[10..] {
            slab.remove(*key);
        }
        assert_eq!((slab.len(), slab.slots.len()), (10, 10));
        assert!(slab.slots.capacity() <= SLOTS_KEPT, "{}", slab.slots.capacity());
        for key in &keys[..10] {
            slab.remove(*key);
        }
        assert!(slab.slots.is_empty() && slab.free.is_empty());
    }

    proptest! {
        /// Against a map, whatever comes and goes; stale keys find nothing, slots stay dense.
        #[test]
        fn equals_a_map(operations in prop::collection::vec((any::<bool>(), any::<u16>()), 1..300)) {
            let (mut slab, mut map, mut stale) = (Slab::new(), BTreeMap::new(), Vec::new());
            for (comes, number) in operations {
                if comes {
                    let key = slab.insert(number);
                    let lowest = (0..).find(|index| !map.contains_key(index));
                    prop_assert_eq!(Some(key.index), lowest);
                    map.insert(key.index, (key, number));
                } else if let Some(index) = map.keys().nth(usize::from(number) % map.len().max(1)).copied() {
                    let (key, number) = map.remove(&index).unwrap();
                    prop_assert_eq!(slab.remove(key), Some(number));
                    stale.push(key);
                }
                prop_assert_eq!(slab.len(), map.len());
                prop_assert!(stale.iter().all(|key| slab.get_mut(*key).is_none()));
                for (key, number) in map.values() {
                    prop_assert_eq!(slab.get_mut(*key).copied(), Some(*number));
                }
            }
        }
    }
}
