//! A disk that forgets what was not synced, tears what was being written, and fails on request.
//!
//! What it models: the page cache and what of it is durable, block by block; names in directories;
//! an operation after which the power is gone; a sync that fails once and leaves the pages clean but
//! lost (the "fsyncgate"); a full disk; files that cannot be opened or read for a while; blocks of a
//! new file that show what another file left there.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use super::disk::{Disk, DiskDir, DiskFile};

/// What is written as a whole or not at all.
const BLOCK: usize = 64;

/// A seeded source of chance.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone, Debug)]
pub(crate) struct SimDisk(Arc<Mutex<World>>);

#[derive(Debug)]
struct World {
    chance: Chance,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    inodes: Vec<Inode>,
    /// What unlinked files held: blocks that a new file may get.
    freed: Vec<Vec<u8>>,
    /// Operations until the power is gone.
    steps_left: Option<u64>,
    crashed: bool,
    space_left: u64,
    /// The numbers of the syncs that fail, counted from 1.
    failing_syncs: BTreeSet<u64>,
    syncs: u64,
    /// The same, of directories.
    failing_dir_syncs: BTreeSet<u64>,
    dir_syncs: u64,
    /// How many of the next writes fail.
    failing_writes: u64,
    failing_opens: bool,
    /// Files that cannot be read, although they are open.
    failing_reads: BTreeSet<PathBuf>,
    failing_place: Option<(PathBuf, Range<u64>)>,
    /// How often such a place was read in vain.
    failed_reads: u64,
    /// How often a file was opened, or somebody tried to.
    opens: u64,
    /// Files and directories that are open now.
    open_now: usize,
    /// Files whose sync failed, and how often each was synced after that.
    resynced: BTreeMap<usize, u64>,
    created: u64,
}

#[derive(Debug)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    /// Blocks that were ever made durable.
    written: BTreeSet<usize>,
    /// How far it was read, from its beginning and without a gap.
    read_to: usize,
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World {
            chance: Chance::new(seed ^ 0xd15c),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            inodes: Vec::new(),
            freed: Vec::new(),
            steps_left: None,
            crashed: false,
            space_left: u64::MAX,
            failing_syncs: BTreeSet::new(),
            syncs: 0,
            failing_dir_syncs: BTreeSet::new(),
            dir_syncs: 0,
            failing_writes: 0,
            failing_opens: false,
            failing_reads: BTreeSet::new(),
            failing_place: None,
            failed_reads: 0,
            opens: 0,
            open_now: 0,
            resynced: BTreeMap::new(),
            created: 0,
        })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub(super) fn crash_after(&self, steps: u64) {
        self.world().steps_left = Some(steps);
    }

    pub(super) fn has_crashed(&self) -> bool {
        self.world().crashed
    }

    pub(super) fn fail_syncs(&self, numbers: impl IntoIterator<Item = u64>) {
        self.world().failing_syncs = numbers.into_iter().collect();
    }

    pub(super) fn fail_dir_syncs(&self, numbers: impl IntoIterator<Item = u64>) {
        self.world().failing_dir_syncs = numbers.into_iter().collect();
    }

    /// The next ones, so many.
    pub(super) fn fail_writes(&self, writes: u64) {
        self.world().failing_writes = writes;
    }

    /// As in a process that has no descriptor left.
    pub(crate) fn fail_opens(&self, fail: bool) {
        self.world().failing_opens = fail;
    }

    pub(crate) fn fail_reads(&self, paths: impl IntoIterator<Item = PathBuf>) {
        self.world().failing_reads = paths.into_iter().collect();
    }

    /// As on a disk with a bad sector.
    pub(crate) fn fail_reads_at(&self, place: Option<(PathBuf, Range<u64>)>) {
        self.world().failing_place = place;
    }

    /// Somebody tidies up.
    pub(crate) fn remove(&self, path: &Path) {
        self.world().names.remove(path);
    }

    pub(crate) fn failed_reads(&self) -> u64 {
        self.world().failed_reads
    }

    pub(crate) fn opens(&self) -> u64 {
        self.world().opens
    }

    pub(super) fn open_now(&self) -> usize {
        self.world().open_now
    }

    /// Changes one byte of a file, for good.
    pub(crate) fn spoil(&self, path: &Path, at: usize) {
        let mut world = self.world();
        let inode = world.names[path];
        let Inode { live, durable, .. } = &mut world.inodes[inode];
        live[at] ^= 1;
        durable[at] = live[at];
    }

    /// The files that have a name.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.world().names.keys().cloned().collect()
    }

    pub(super) fn space_left(&self, bytes: u64) {
        self.world().space_left = bytes;
    }

    /// Whether every byte of every file was read, each from its beginning on.
    pub(super) fn was_read(&self) -> bool {
        self.world().inodes.iter().all(|inode| inode.read_to == inode.live.len())
    }

    /// Bytes of the files that have a name.
    pub(super) fn used(&self) -> u64 {
        let world = self.world();
        world.names.values().map(|inode| world.inodes[*inode].live.len() as u64).sum()
    }

    /// How often a file was synced after one of its syncs had failed.
    pub(super) fn syncs_of_failed_files(&self) -> u64 {
        self.world().resynced.values().sum()
    }

    /// What is there when the power is back.
    pub(super) fn reboot(&self) {
        let mut world = self.world();
        let World { chance, names, durable_names, inodes, freed, .. } = &mut *world;
        for (name, inode) in names.iter() {
            // A name that was not synced may have made it all the same.
            if !durable_names.contains_key(name) && chance.percent(30) {
                durable_names.insert(name.clone(), *inode);
            }
        }
        for inode in inodes.iter_mut() {
            for block in std::mem::take(&mut inode.dirty) {
                if chance.percent(50) {
                    inode.keep(block);
                }
            }
            inode.show_stale_blocks(freed, chance);
            inode.live = inode.durable.clone();
        }
        world.names = world.durable_names.clone();
        world.crashed = false;
        world.steps_left = None;
    }
}

impl Inode {
    fn range(&self, block: usize) -> Range<usize> {
        block * BLOCK..((block + 1) * BLOCK).min(self.live.len())
    }

    fn keep(&mut self, block: usize) {
        let range = self.range(block);
        self.durable[range.clone()].copy_from_slice(&self.live[range]);
        self.written.insert(block);
    }

    /// Blocks that were never written may be somebody else's of old.
    fn show_stale_blocks(&mut self, freed: &[Vec<u8>], chance: &mut Chance) {
        if freed.is_empty() || !chance.percent(30) {
            return;
        }
        let old = &freed[usize::try_from(chance.below(freed.len() as u64)).unwrap()];
        for block in 0..self.live.len().div_ceil(BLOCK) {
            let range = self.range(block);
            if !self.written.contains(&block) && range.end <= old.len() {
                self.durable[range.clone()].copy_from_slice(&old[range]);
            }
        }
    }
}

impl World {
    /// One operation; an error when the power is gone.
    fn step(&mut self) -> io::Result<()> {
        if self.chance.percent(2) && !self.inodes.is_empty() {
            // The kernel writes something back by itself.
            let at = usize::try_from(self.chance.below(self.inodes.len() as u64)).unwrap();
            for block in std::mem::take(&mut self.inodes[at].dirty) {
                self.inodes[at].keep(block);
            }
        }
        if let Some(left) = &mut self.steps_left {
            *left = left.saturating_sub(1);
            self.crashed |= *left == 0;
        }
        if self.crashed { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }
}

impl Disk for SimDisk {
    fn create_reserved(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        world.step()?;
        if bytes > world.space_left {
            return Err(io::ErrorKind::StorageFull.into());
        }
        world.space_left -= bytes;
        let zeros = vec![0; usize::try_from(bytes).unwrap()];
        let inode = world.inodes.len();
        world.inodes.push(Inode {
            live: zeros.clone(),
            durable: zeros,
            dirty: BTreeSet::new(),
            written: BTreeSet::new(),
            read_to: 0,
        });
        assert!(world.names.insert(path.to_owned(), inode).is_none(), "{path:?} is there already");
        world.created += 1;
        world.open_now += 1;
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        world.step()?;
        world.opens += 1;
        if world.failing_opens {
            return Err(io::Error::other("too many open files"));
        }
        let inode = *world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        world.open_now += 1;
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn list(&self, directory: &Path, most: usize) -> io::Result<Vec<String>> {
        let world = self.world();
        let names = world.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(names
            .take(most)
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.step()?;
        let inode = world.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn link(&self, path: &Path, also: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.step()?;
        let inode = *world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(also.to_owned(), inode);
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.step()?;
        let inode = world.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        world.durable_names.remove(path);
        let left = world.inodes[inode].live.clone();
        world.space_left = world.space_left.saturating_add(left.len() as u64);
        world.freed.push(left);
        Ok(())
    }

    fn open_dir(&self, directory: &Path) -> io::Result<Arc<dyn DiskDir>> {
        let mut world = self.world();
        if world.failing_opens {
            return Err(io::Error::other("too many open files"));
        }
        world.open_now += 1;
        Ok(Arc::new(SimDir { disk: self.clone(), path: directory.to_owned() }))
    }
}

#[derive(Debug)]
struct SimDir {
    disk: SimDisk,
    path: PathBuf,
}

impl Drop for SimDir {
    fn drop(&mut self) {
        self.disk.world().open_now -= 1;
    }
}

impl DiskDir for SimDir {
    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.world();
        world.step()?;
        world.dir_syncs += 1;
        if world.failing_dir_syncs.contains(&world.dir_syncs) {
            return Err(io::Error::other("a sync of a directory failed"));
        }
        let World { names, durable_names, .. } = &mut *world;
        for (name, inode) in names {
            if name.parent() == Some(&self.path) {
                durable_names.insert(name.clone(), *inode);
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.world().open_now -= 1;
    }
}

impl DiskFile for SimFile {
    fn pwrite(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        if world.crashed {
            return world.step();
        }
        let stepped = world.step();
        if world.failing_writes > 0 {
            world.failing_writes -= 1;
            return Err(io::Error::other("a write failed"));
        }
        let at = usize::try_from(offset).unwrap();
        let inode = &mut world.inodes[self.inode];
        inode.live[at..at + bytes.len()].copy_from_slice(bytes);
        inode.dirty.extend(at / BLOCK..=(at + bytes.len() - 1) / BLOCK);
        // It was under way when the power went: any of its blocks may be there.
        stepped
    }

    fn fdatasync(&self) -> io::Result<()> {
        let mut world = self.disk.world();
        world.step()?;
        world.syncs += 1;
        if let Some(count) = world.resynced.get_mut(&self.inode) {
            *count += 1;
        }
        let number = world.syncs;
        let fails = world.failing_syncs.contains(&number);
        if fails {
            world.resynced.entry(self.inode).or_insert(0);
        }
        let inode = &mut world.inodes[self.inode];
        for block in std::mem::take(&mut inode.dirty) {
            if fails {
                // Clean, and gone: the next sync will say that all is well.
                let range = inode.range(block);
                let Inode { live, durable, .. } = inode;
                live[range.clone()].copy_from_slice(&durable[range]);
            } else {
                inode.keep(block);
            }
        }
        if fails { Err(io::Error::other("a sync failed")) } else { Ok(()) }
    }

    fn pread(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = self.disk.world();
        let of_it = |path: &PathBuf| world.names.get(path) == Some(&self.inode);
        let end = offset + bytes.len() as u64;
        let bad = world.failing_place.as_ref();
        let is_bad =
            bad.is_some_and(|(path, bad)| of_it(path) && bad.start < end && offset < bad.end);
        if is_bad || world.failing_reads.iter().any(of_it) {
            world.failed_reads += 1;
            return Err(io::Error::other("a read failed"));
        }
        let Inode { live, read_to, .. } = &mut world.inodes[self.inode];
        let at = usize::try_from(offset).unwrap().min(live.len());
        let count = bytes.len().min(live.len() - at);
        bytes[..count].copy_from_slice(&live[at..at + count]);
        if at <= *read_to {
            *read_to = (at + count).max(*read_to);
        }
        Ok(count)
    }
}

/// How often something is tried: the first in the short tier, the second in the long one.
#[expect(clippy::disallowed_methods, reason = "tests have no configuration to ask")]
pub(super) fn in_soak(short: u32, full: u32) -> u32 {
    if std::env::var_os("OBS_TEST_SOAK").is_some() { full } else { short }
}
