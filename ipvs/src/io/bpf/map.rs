//! Maps: what a program and user space both read and write.
#![expect(unsafe_code, reason = "bpf(2) reads and writes keys and values through pointers")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use thiserror::Error;

use super::syscall::{self, Command, MapBatch, MapCreate, MapElem, bpf, bpf_fd, number};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MapKind {
    /// Memory for as many elements as there may be is taken at once: writing and removing them is two to four times as
    /// fast as where each gets its own, and cannot fail for want of it.
    Hash = 1,
    /// All elements are there from the start, and zero. The key is their number.
    Array = 2,
}

/// A map with keys of `K` and values of `V` bytes.
///
/// Clones of the descriptor, programs that use it, and pins keep a map alive.
#[derive(Debug)]
pub struct Map<const K: usize, const V: usize> {
    // The kernel's map has keys of K and values of V bytes: it was made or checked so.
    fd: OwnedFd,
}

#[derive(Debug, Error)]
pub enum MapError {
    #[error("cannot make the map {name}")]
    Create {
        name: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot open the map {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Made by another version of this program, or by another program.
    #[error("{} is not a map of {expected:?} but of {found:?} (kind, bytes of a key, bytes of a value)", path.display())]
    Different { path: PathBuf, expected: (u32, usize, usize), found: (u32, usize, usize) },
    #[error("cannot pin a map to {}", path.display())]
    Pin {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot {doing} a map")]
    Access {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    /// The first of the elements were written, the others were not.
    #[error("cannot write more than {done} of {of} elements of a map")]
    Partial {
        done: usize,
        of: usize,
        #[source]
        source: io::Error,
    },
}

impl<const K: usize, const V: usize> Map<K, V> {
    /// # Errors
    /// The kernel has no memory or no such maps, or permits none.
    pub fn create(name: &'static str, kind: MapKind, capacity: u32) -> Result<Self, MapError> {
        let mut attributes = MapCreate {
            map_type: kind as u32,
            key_size: size(K),
            value_size: size(V),
            max_entries: capacity,
            map_name: syscall::object_name(name),
            ..MapCreate::default()
        };
        // SAFETY: no pointers in it; the command answers with a descriptor.
        let fd = unsafe { bpf_fd(Command::MapCreate, &mut attributes) };
        fd.map(|fd| Self { fd }).map_err(|source| MapError::Create { name, source })
    }

    /// A map that was pinned.
    ///
    /// # Errors
    /// There is none, or it is of another kind or of other sizes.
    pub fn open(path: &Path, kind: MapKind) -> Result<Self, MapError> {
        let failed = |source| MapError::Open { path: path.to_owned(), source };
        let fd = syscall::open(path).map_err(failed)?;
        let info = syscall::map_info(fd.as_fd()).map_err(failed)?;
        let expected = (kind as u32, K, V);
        let found = (info.map_type, info.key_size as usize, info.value_size as usize);
        if found != expected {
            return Err(MapError::Different { path: path.to_owned(), expected, found });
        }
        Ok(Self { fd })
    }

    /// Keeps the map under a name in a file system of type `bpf`. Removing that file unpins it.
    ///
    /// # Errors
    /// No such file system, or the name is taken.
    pub fn pin(&self, path: &Path) -> Result<(), MapError> {
        syscall::pin(self.fd.as_fd(), path).map_err(|source| MapError::Pin { path: path.to_owned(), source })
    }

    /// The descriptor, for [`super::Assembler::assemble`].
    pub fn descriptor(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn get(&self, key: &[u8; K]) -> Result<Option<[u8; V]>, MapError> {
        self.read(Command::MapLookupElem, "read", key)
    }

    /// Removes `key`, and says what its last value was: what a program has counted until then is in it.
    ///
    /// # Errors
    /// The kernel says no, or has no such command for hash maps (before Linux 5.14).
    pub fn take(&self, key: &[u8; K]) -> Result<Option<[u8; V]>, MapError> {
        self.read(Command::MapLookupAndDeleteElem, "take from", key)
    }

    fn read(
        &self,
        command: Command,
        doing: &'static str,
        key: &[u8; K],
    ) -> Result<Option<[u8; V]>, MapError> {
        let mut value = [0; V];
        let mut attributes = self.element(key);
        attributes.value = value.as_mut_ptr() as u64;
        // SAFETY: the kernel's map has keys of K and values of V bytes; both buffers outlive the call, and the value is
        // borrowed by nobody else.
        match unsafe { bpf(command, &mut attributes) } {
            Ok(_) => Ok(Some(value)),
            Err(error) if is(&error, Errno::ENOENT) => Ok(None),
            Err(source) => Err(MapError::Access { doing, source }),
        }
    }

    /// Gives `key` a value, in place of the one it had. A program sees the old one or the new one in a hash map; in an
    /// array it may see a part of each.
    ///
    /// # Errors
    /// The map is full (`E2BIG`), or the kernel says no.
    pub fn set(&self, key: &[u8; K], value: &[u8; V]) -> Result<(), MapError> {
        let mut attributes = self.element(key);
        attributes.value = value.as_ptr() as u64;
        // SAFETY: the kernel's map has keys of K and values of V bytes, which it only reads; both outlive the call.
        let outcome = unsafe { bpf(Command::MapUpdateElem, &mut attributes) };
        outcome.map(drop).map_err(|source| MapError::Access { doing: "write to", source })
    }

    /// Whether it was there.
    ///
    /// # Errors
    /// The kernel says no: elements of arrays cannot be removed.
    pub fn remove(&self, key: &[u8; K]) -> Result<bool, MapError> {
        let mut attributes = self.element(key);
        // SAFETY: the kernel's map has keys of K bytes; `key` outlives the call.
        match unsafe { bpf(Command::MapDeleteElem, &mut attributes) } {
            Ok(_) => Ok(true),
            Err(error) if is(&error, Errno::ENOENT) => Ok(false),
            Err(source) => Err(MapError::Access { doing: "remove from", source }),
        }
    }

    fn element(&self, key: &[u8; K]) -> MapElem {
        MapElem { map_fd: number(self.fd.as_fd()), key: key.as_ptr() as u64, ..MapElem::default() }
    }

    /// As [`Self::set`] for many, in their order and by one call. Keys without a value are left out.
    ///
    /// # Errors
    /// Where it came to an end too early.
    pub fn set_all(&self, keys: &[[u8; K]], values: &[[u8; V]]) -> Result<(), MapError> {
        let count = keys.len().min(values.len());
        if count == 0 {
            return Ok(());
        }
        let mut attributes = MapBatch {
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count: size(count),
            map_fd: number(self.fd.as_fd()),
            ..MapBatch::default()
        };
        // SAFETY: there are at least `count` keys of K bytes and values of V bytes, which the kernel only reads.
        match unsafe { bpf(Command::MapUpdateBatch, &mut attributes) } {
            Ok(_) => Ok(()),
            // The kernel may fail before it has counted anything, with the number still as it was told.
            Err(source) if attributes.count >= size(count) => {
                Err(MapError::Partial { done: 0, of: count, source })
            }
            Err(source) => Err(MapError::Partial { done: attributes.count as usize, of: count, source }),
        }
    }

    /// Removes many; those that are not there are no error. Says how many were there.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn remove_all(&self, keys: &[[u8; K]]) -> Result<usize, MapError> {
        let mut rest = keys;
        let mut removed = 0;
        while !rest.is_empty() {
            let mut attributes = MapBatch {
                keys: rest.as_ptr() as u64,
                count: size(rest.len()),
                map_fd: number(self.fd.as_fd()),
                ..MapBatch::default()
            };
            // SAFETY: there are `count` keys of K bytes, which the kernel only reads.
            match unsafe { bpf(Command::MapDeleteBatch, &mut attributes) } {
                Ok(_) => return Ok(removed + rest.len()),
                // It ends at the first that is not there.
                Err(error) if is(&error, Errno::ENOENT) => {
                    let done = (attributes.count as usize).min(rest.len());
                    removed += done;
                    rest = rest.get(done + 1..).unwrap_or_default();
                }
                Err(source) => return Err(MapError::Access { doing: "remove from", source }),
            }
        }
        Ok(removed)
    }

    /// Begins to read all elements, `room` at a time.
    pub fn walk(&self, room: usize) -> Walk<'_, K, V> {
        Walk { map: self, room: room.max(1), place: Place::Start, keys: Vec::new(), values: Vec::new() }
    }
}

/// All elements of a map, batch by batch, while programs go on with it. Elements that come or go meanwhile may be left
/// out, and one may be told twice.
#[derive(Debug)]
pub struct Walk<'m, const K: usize, const V: usize> {
    map: &'m Map<K, V>,
    room: usize,
    place: Place,
    keys: Vec<[u8; K]>,
    values: Vec<[u8; V]>,
}

/// Where the next batch begins. The kernel says so with four bytes: the number of a bucket, or of an array's element.
#[derive(Clone, Copy, Debug)]
enum Place {
    Start,
    Behind([u8; 4]),
    End,
}

/// What one batch has at most; a bucket with more elements is not one that hashes made.
const MAX_ROOM: usize = 1 << 20;

impl<const K: usize, const V: usize> Walk<'_, K, V> {
    /// The next keys and their values. `None` at the end.
    ///
    /// # Errors
    /// The kernel says no.
    #[expect(clippy::type_complexity, reason = "two slices of one length")]
    pub fn next_batch(&mut self) -> Result<Option<(&[[u8; K]], &[[u8; V]])>, MapError> {
        let start = match self.place {
            Place::Start => None,
            Place::Behind(place) => Some(place),
            Place::End => return Ok(None),
        };
        loop {
            self.keys.resize(self.room, [0; K]);
            self.values.resize(self.room, [0; V]);
            let mut end = [0_u8; 4];
            let mut attributes = MapBatch {
                in_batch: start.as_ref().map_or(0, |place| place.as_ptr() as u64),
                out_batch: end.as_mut_ptr() as u64,
                keys: self.keys.as_mut_ptr() as u64,
                values: self.values.as_mut_ptr() as u64,
                count: size(self.room),
                map_fd: number(self.map.fd.as_fd()),
                ..MapBatch::default()
            };
            // SAFETY: there is room for `count` keys of K bytes and values of V bytes; places have four bytes in both
            // kinds of maps that can be made; all are borrowed for this call alone.
            let outcome = unsafe { bpf(Command::MapLookupBatch, &mut attributes) };
            let found = (attributes.count as usize).min(self.room);
            self.place = match outcome {
                Ok(_) => Place::Behind(end),
                Err(error) if is(&error, Errno::ENOENT) => Place::End,
                // The next bucket has more elements than there is room for.
                Err(error) if is(&error, Errno::ENOSPC) && self.room < MAX_ROOM => {
                    self.room *= 2;
                    continue;
                }
                Err(source) => return Err(MapError::Access { doing: "read", source }),
            };
            let batch = self.keys.get(..found).zip(self.values.get(..found));
            return Ok(batch.filter(|(keys, _)| !keys.is_empty()));
        }
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

/// Sizes and numbers as bpf(2) takes them; what does not fit, it refuses.
fn size(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
