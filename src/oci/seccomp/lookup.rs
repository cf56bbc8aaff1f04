//! From a call's name to its numbers: a hash table, made when this is compiled. A usual profile asks
//! for 400 names, of which each would be compared with ten others in a sorted table.

use super::table::{CALLS, MULTIPLEXED, NONE};

/// A call's numbers.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    pub x86_64: u16,
    pub i386: u16,
    pub x32: u16,
    /// The other way in that i386 has: its number, and the first argument that chooses the call.
    pub other_way: Option<(u16, u64)>,
}

/// At most half of them are taken.
const PLACES: usize = 1024;
const _: () = assert!(CALLS.len() * 2 <= PLACES);

/// Indices of [`CALLS`], or [`NONE`].
static PLACED: [u16; PLACES] = placed();

/// For each of [`CALLS`] its index in [`MULTIPLEXED`], or [`NONE`].
static OTHER_WAYS: [u16; CALLS.len()] = other_ways();

/// The numbers of `name`, if any ABI has such a call.
pub(super) fn numbers(name: &str) -> Option<Numbers> {
    let mut place = hash(name.as_bytes());
    loop {
        let at = usize::from(*PLACED.get(place)?);
        let (known, x86_64, i386, x32) = *CALLS.get(at)?;
        if known == name {
            let other_way = OTHER_WAYS.get(at).and_then(|at| MULTIPLEXED.get(usize::from(*at)));
            let other_way = other_way.map(|(_, number, chosen)| (*number, *chosen));
            return Some(Numbers { x86_64, i386, x32, other_way });
        }
        place = (place + 1) % PLACES;
    }
}

/// FNV-1a.
const fn hash(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut at = 0;
    while at < name.len() {
        hash = (hash ^ name[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    (hash ^ hash >> 16) as usize % PLACES
}

const fn placed() -> [u16; PLACES] {
    let mut places = [NONE; PLACES];
    let mut at = 0;
    while at < CALLS.len() {
        let mut place = hash(CALLS[at].0.as_bytes());
        while places[place] != NONE {
            place = (place + 1) % PLACES;
        }
        places[place] = at as u16;
        at += 1;
    }
    places
}

const fn other_ways() -> [u16; CALLS.len()] {
    let mut ways = [NONE; CALLS.len()];
    let (mut call, mut way) = (0, 0);
    // Both are sorted by name, and each way's name is a call's.
    while way < MULTIPLEXED.len() {
        while !is_same(CALLS[call].0.as_bytes(), MULTIPLEXED[way].0.as_bytes()) {
            call += 1;
        }
        ways[call] = way as u16;
        way += 1;
    }
    ways
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        for (name, x86_64, i386, x32) in CALLS {
            let found = numbers(name).unwrap();
            assert_eq!((found.x86_64, found.i386, found.x32), (*x86_64, *i386, *x32), "{name}");
            let way = MULTIPLEXED.iter().find(|way| way.0 == *name).map(|way| (way.1, way.2));
            assert_eq!(found.other_way, way, "{name}");
            assert!(numbers(&format!("{name}_")).is_none());
        }
        assert!(numbers("").is_none());
    }
}
