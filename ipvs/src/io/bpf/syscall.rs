//! bpf(2). The structures are the parts of `union bpf_attr` (`linux/bpf.h`) that belong to a command: numbers only, and no
//! padding that is not named. What a kernel knows beyond their end is zero.
#![expect(unsafe_code, reason = "no safe crate offers bpf(2)")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::libc;

/// `enum bpf_cmd`
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(super) enum Command {
    MapCreate = 0,
    MapLookupElem = 1,
    MapUpdateElem = 2,
    MapDeleteElem = 3,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ObjGetInfoByFd = 15,
    MapLookupAndDeleteElem = 21,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    MapDeleteBatch = 27,
    LinkCreate = 28,
    LinkUpdate = 29,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct MapCreate {
    pub(super) map_type: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) map_flags: u32,
    pub(super) inner_map_fd: u32,
    pub(super) numa_node: u32,
    pub(super) map_name: [u8; 16],
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct MapElem {
    pub(super) map_fd: u32,
    pub(super) padding: u32,
    pub(super) key: u64,
    pub(super) value: u64,
    pub(super) flags: u64,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct MapBatch {
    pub(super) in_batch: u64,
    pub(super) out_batch: u64,
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) count: u32,
    pub(super) map_fd: u32,
    pub(super) elem_flags: u64,
    pub(super) flags: u64,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct ProgLoad {
    pub(super) prog_type: u32,
    pub(super) insn_cnt: u32,
    pub(super) insns: u64,
    pub(super) license: u64,
    pub(super) log_level: u32,
    pub(super) log_size: u32,
    pub(super) log_buf: u64,
    pub(super) kern_version: u32,
    pub(super) prog_flags: u32,
    pub(super) prog_name: [u8; 16],
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Obj {
    pub(super) pathname: u64,
    pub(super) bpf_fd: u32,
    pub(super) file_flags: u32,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Info {
    pub(super) bpf_fd: u32,
    pub(super) info_len: u32,
    pub(super) info: u64,
}

/// The beginning of `struct bpf_map_info`.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct MapInfo {
    pub(super) map_type: u32,
    pub(super) id: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) map_flags: u32,
}

/// The beginning of `struct bpf_link_info`, for a link of tcx.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct LinkInfo {
    pub(super) link_type: u32,
    pub(super) id: u32,
    pub(super) prog_id: u32,
    pub(super) padding: u32,
    pub(super) ifindex: u32,
    pub(super) attach_type: u32,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct LinkCreate {
    pub(super) prog_fd: u32,
    pub(super) target_ifindex: u32,
    pub(super) attach_type: u32,
    pub(super) flags: u32,
    pub(super) relative_fd: u32,
    pub(super) padding: u32,
    pub(super) expected_revision: u64,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct LinkUpdate {
    pub(super) link_fd: u32,
    pub(super) new_prog_fd: u32,
    pub(super) flags: u32,
    pub(super) old_prog_fd: u32,
}

/// Calls bpf(2); what the kernel answers in `attributes` stands there afterwards.
///
/// # Safety
/// `T` is the structure of that command. Every pointer in it is zero or points to as many bytes as the command reads
/// there or, if it writes them, to as many that nothing else borrows.
pub(super) unsafe fn bpf<T>(command: Command, attributes: &mut T) -> io::Result<RawFd> {
    let pointer: *mut T = attributes;
    // SAFETY: `attributes` is borrowed mutably for as many bytes as the kernel is told, and the caller vouches for what
    // it points to.
    let outcome = unsafe { libc::syscall(libc::SYS_bpf, command as i32, pointer, size_of::<T>()) };
    // Descriptors and zero fit; an outcome that does not is an error.
    RawFd::try_from(outcome).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)
}

/// As [`bpf`], for commands that answer with a descriptor.
///
/// # Safety
/// As [`bpf`]; and the command does answer with a new descriptor.
pub(super) unsafe fn bpf_fd<T>(command: Command, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise is the same.
    let fd = unsafe { bpf(command, attributes) }?;
    // SAFETY: the kernel made it for this call, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor as the structures hold it.
pub(super) fn number(fd: BorrowedFd<'_>) -> u32 {
    // Never negative while it is borrowed.
    fd.as_raw_fd().unsigned_abs()
}

/// Names of objects have up to 15 letters, digits, dots and underscores. A longer one is cut.
pub(super) fn object_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (byte, letter) in bytes.iter_mut().take(15).zip(name.bytes()) {
        *byte = letter;
    }
    bytes
}

/// Gives an object a name in a file system of type `bpf`, which keeps it alive.
pub(super) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let pathname = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Obj { pathname: pathname.as_ptr() as u64, bpf_fd: number(fd), ..Obj::default() };
    // SAFETY: `pathname` ends with a NUL and outlives the call.
    unsafe { bpf(Command::ObjPin, &mut attributes) }.map(drop)
}

/// The object of that name, of whatever kind.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    let pathname = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Obj { pathname: pathname.as_ptr() as u64, ..Obj::default() };
    // SAFETY: `pathname` ends with a NUL and outlives the call, which answers with a descriptor.
    unsafe { bpf_fd(Command::ObjGet, &mut attributes) }
}

/// What the kernel tells of a map. Zeros for what it does not tell.
pub(super) fn map_info(fd: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    // SAFETY: all its bytes are numbers, so any are valid.
    unsafe { read_info(fd, &mut info) }?;
    Ok(info)
}

/// What the kernel tells of a link. Zeros for what it does not tell.
pub(super) fn link_info(fd: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    // SAFETY: all its bytes are numbers, so any are valid.
    unsafe { read_info(fd, &mut info) }?;
    Ok(info)
}

/// # Safety
/// Any bytes are a valid `T`.
unsafe fn read_info<T>(fd: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let pointer: *mut T = info;
    // The structures have a few words.
    let info_len = size_of::<T>() as u32;
    let mut attributes = Info { bpf_fd: number(fd), info_len, info: pointer as u64 };
    // SAFETY: `info` is borrowed mutably for as many bytes as the kernel is told.
    unsafe { bpf(Command::ObjGetInfoByFd, &mut attributes) }.map(drop)
}
