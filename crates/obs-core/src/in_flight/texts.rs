//! The texts of strategies on the page of slots, each written once, before the first run that refers
//! to it.

use std::{collections::HashMap, sync::Arc};

use crate::{
    strategies::{StrategyKey, hash_of},
    sync::{AtomicU64, Ordering},
};

/// Kind, realm, id, version, type and hash of a strategy.
const PARTS: usize = 6;
/// Lengths and mark in one word, the checksum in the next.
const HEAD_WORDS: usize = 2;
/// Says that an entry begins here.
const MARK: u16 = 0x7e87;
/// The length of a part that there is not.
const ABSENT: u8 = u8::MAX;

/// What was written so far.
#[derive(Debug, Default)]
pub(super) struct Texts {
    places: HashMap<Box<[u8]>, u32>,
    /// Words that are used.
    len: usize,
    refused: u64,
}

/// A strategy as the page says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) kind: Arc<str>,
    pub(super) realm: Option<Arc<str>>,
    pub(super) id: Arc<str>,
    pub(super) version: Arc<str>,
    pub(super) strategy_type: Option<Arc<str>>,
    pub(super) hash: Option<Arc<str>>,
}

impl Texts {
    /// Where the texts of a strategy are: 0 if there is no room for them.
    #[expect(clippy::indexing_slicing, reason = "an entry that does not fit was refused above")]
    pub(super) fn intern(&mut self, words: &[AtomicU64], kind: &str, key: &StrategyKey<'_>) -> u32 {
        let parts = [
            Some(kind),
            key.realm,
            Some(&*key.id),
            Some(&*key.version),
            key.strategy_type,
            key.hash,
        ];
        let encoded = encode(parts);
        if let Some(place) = self.places.get(&*encoded) {
            return *place;
        }
        let entry = encoded.len() / size_of::<u64>();
        // A place is a position after a word that stays unused: no place is 0.
        let start = self.len.max(1);
        let place = u32::try_from(start).unwrap_or(0);
        if start + entry > words.len() || place == 0 {
            self.refused += 1;
            return 0;
        }
        for (word, bytes) in words[start..].iter().zip(encoded.chunks_exact(size_of::<u64>())) {
            let mut value = [0; size_of::<u64>()];
            value.copy_from_slice(bytes);
            word.store(u64::from_le_bytes(value), Ordering::Release);
        }
        self.len = start + entry;
        self.places.insert(encoded, place);
        place
    }

    /// Strategies that found no room.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }
}

/// Whole words, in the order of their bytes.
#[expect(clippy::indexing_slicing, reason = "the head was made first, and has two words")]
fn encode(parts: [Option<&str>; PARTS]) -> Box<[u8]> {
    let mut out = vec![0; HEAD_WORDS * size_of::<u64>()];
    for (at, part) in parts.iter().enumerate() {
        let fits = part.filter(|part| part.len() < ABSENT.into());
        out[at] = fits.map_or(ABSENT, |part| u8::try_from(part.len()).unwrap_or(ABSENT));
        out.extend_from_slice(fits.unwrap_or_default().as_bytes());
    }
    out[PARTS..8].copy_from_slice(&MARK.to_le_bytes());
    let checksum = checksum(parts.map(|part| part.filter(|part| part.len() < ABSENT.into())));
    out[8..16].copy_from_slice(&checksum.to_le_bytes());
    out.resize(out.len().next_multiple_of(size_of::<u64>()), 0);
    out.into()
}

/// Whatever is left out and what is empty differ in their lengths.
fn checksum(parts: [Option<&str>; PARTS]) -> u64 {
    hash_of(&parts.map(Option::unwrap_or_default))
}

/// The strategy whose texts are at `place`; `None` where there are none. The words are not trusted.
#[expect(
    clippy::indexing_slicing,
    reason = "a head has more bytes than parts, and so many words follow as its lengths say"
)]
pub(super) fn decode(place: usize, len: usize, word: impl Fn(usize) -> u64) -> Option<Named> {
    let head = if place == 0 || place + HEAD_WORDS > len { None } else { Some(word(place)) }?;
    let head = head.to_le_bytes();
    if head[PARTS..] != MARK.to_le_bytes() {
        return None;
    }
    let lengths: [Option<usize>; PARTS] =
        std::array::from_fn(|part| (head[part] != ABSENT).then(|| head[part].into()));
    let bytes_len: usize = lengths.iter().flatten().sum();
    let words_len = bytes_len.div_ceil(size_of::<u64>());
    let first = place + HEAD_WORDS;
    if first + words_len > len {
        return None;
    }
    let bytes: Vec<u8> = (first..first + words_len).flat_map(|at| word(at).to_le_bytes()).collect();
    let mut rest = &bytes[..bytes_len];
    let mut parts = [None; PARTS];
    for (part, len) in parts.iter_mut().zip(lengths) {
        let Some(len) = len else { continue };
        let (text, after) = rest.split_at(len);
        *part = Some(str::from_utf8(text).ok()?);
        rest = after;
    }
    let [kind, realm, id, version, strategy_type, hash] = parts;
    (word(place + 1) == checksum(parts)).then_some(())?;
    let owned = |part: Option<&str>| part.map(Arc::from);
    Some(Named {
        kind: kind?.into(),
        realm: owned(realm),
        id: id?.into(),
        version: version?.into(),
        strategy_type: owned(strategy_type),
        hash: owned(hash),
    })
}
