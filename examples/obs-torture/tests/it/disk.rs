//! A file system of a test's own, on a disk that is a file: it can be looked at as it is when the power fails.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::support::{skip, told};

/// Sparse: it takes up what is written.
const BYTES: u64 = 128 << 20;

/// How often the image is copied, until nothing was written meanwhile.
const COPIES_MAX: u32 = 200;

/// An ext4 in a file, mounted through a loop device. It is unmounted, and the device free, when this is dropped.
pub(crate) struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    /// A new file system; `None` where nobody can have one, which was said.
    pub(crate) fn new(image: PathBuf, mount: &Path) -> Option<Self> {
        if let Err(why) = can_loop() {
            cannot(&why);
            return None;
        }
        let made = Command::new("mkfs.ext4").arg("-V").output();
        if made.is_err() {
            skip("no file system can be made here: install e2fsprogs, which has mkfs.ext4");
            return None;
        }
        fs::File::create(&image).unwrap().set_len(BYTES).unwrap();
        run("mkfs.ext4", &["-q", "-F"], &[&image]);
        fs::create_dir_all(mount).unwrap();
        match tried("mount", &["-t", "ext4", "-o", "loop"], &[&image, mount]) {
            Ok(()) => Some(Self { image, mount: mount.to_owned() }),
            Err(why) => {
                cannot(&why);
                None
            }
        }
    }

    /// Mounting is where the journal is replayed.
    fn mounted(image: PathBuf, mount: &Path) -> Self {
        run("mount", &["-t", "ext4", "-o", "loop"], &[&image, mount]);
        Self { image, mount: mount.to_owned() }
    }

    /// As the system does by itself after half a minute.
    pub(crate) fn write_back(&self) {
        run("sync", &["--file-system"], &[&self.mount]);
    }

    /// As after an error that the file system cannot get over: it is read-only from now on, in mid-flight, and what was
    /// written and not synced does not reach the disk any more.
    pub(crate) fn gives_up(&self) {
        run("mount", &["-o", "remount,abort"], &[&self.mount]);
    }

    /// Unmounted and mounted again: only what the disk has is there.
    pub(crate) fn mounted_again(self) -> Self {
        let image = self.image.clone();
        self.replaced_by(image)
    }

    /// What the disk has at one moment, of which the file system's own memory is no part.
    pub(crate) fn as_it_is(&self, copy: &Path) {
        let again = copy.with_extension("again");
        for _ in 0..COPIES_MAX {
            // Two that are the same are what was there between them.
            run("cp", &["--sparse=always"], &[&self.image, copy]);
            run("cp", &["--sparse=always"], &[&self.image, &again]);
            let same = Command::new("cmp").arg("--quiet").args([copy, &again]).status().unwrap();
            fs::remove_file(&again).unwrap();
            if same.success() {
                return;
            }
        }
        panic!("it is written to all the time, though nobody runs");
    }

    /// The power fails and comes back: all that is left is a copy made by [`Disk::as_it_is`].
    pub(crate) fn replaced_by(self, copy: PathBuf) -> Self {
        let mount = self.mount.clone();
        drop(self);
        Self::mounted(copy, &mount)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, if somebody still has a file there; the loop device goes with the mount.
        let unmount = |how: &[&str]| {
            Command::new("umount")
                .args(how)
                .arg(&self.mount)
                .output()
                .is_ok_and(|o| o.status.success())
        };
        let _ = unmount(&[]) || unmount(&["--lazy"]);
    }
}

/// Root of a container has no loop devices, or may not mount them, however privileged it is in other ways.
fn cannot(why: &str) {
    let why = format!("a power cut needs a loop device: {why}");
    if is_contained() { told(&why) } else { skip(&why) }
}

/// Whether there is a loop device to be had.
fn can_loop() -> Result<(), String> {
    const MAY_MOUNT: u64 = 1 << 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let rights = rights.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    if rights & MAY_MOUNT == 0 {
        return Err("there is no right to mount (run as root, or with CAP_SYS_ADMIN)".to_owned());
    }
    let free = Command::new("losetup").arg("--find").output();
    let free = free.map_err(|error| format!("losetup does not run: {error}"))?;
    if !free.status.success() {
        return Err(String::from_utf8_lossy(&free.stderr).trim().to_owned());
    }
    let device = String::from_utf8_lossy(&free.stdout).trim().to_owned();
    match Path::new(&device).exists() {
        true => Ok(()),
        false => Err(format!("{device} would be free and is not there")),
    }
}

/// Whether this is a container, which is given its devices by somebody else.
fn is_contained() -> bool {
    let marks = ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"];
    marks.iter().any(|mark| Path::new(mark).exists()) || !Path::new("/dev/loop-control").exists()
}

fn run(program: &str, arguments: &[&str], paths: &[&Path]) {
    tried(program, arguments, paths).unwrap();
}

fn tried(program: &str, arguments: &[&str], paths: &[&Path]) -> Result<(), String> {
    let Output { status, stderr, .. } =
        Command::new(program).args(arguments).args(paths).output().unwrap();
    let why = || format!("{program} {paths:?}: {}", String::from_utf8_lossy(&stderr));
    status.success().then_some(()).ok_or_else(why)
}
