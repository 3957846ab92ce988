//! Whether a data file is whole enough to be mapped: LMDB trusts its pages, and a mapped read past the end of
//! a truncated file kills the process.
//!
//! Checked before mapping: both meta pages, and that the newer one's trees start inside the file; before the first
//! page is used, when the file is shorter than its last page: that every reachable page is inside. (A short file is
//! legal when its last pages are free, so the length alone decides nothing.) Damage in the middle of the file is not
//! looked for.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use larder_base::error::{Error, ErrorKind, Result};

use crate::fault::io_error;

const MAGIC: u32 = 0xBEEF_C0DE;
const FORMAT: u32 = 1;
const HEADER: usize = 16;
const META: usize = 152;
const NO_PAGE: u64 = u64::MAX;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const META_PAGE: u16 = 0x08;
const BIG_DATA: u16 = 0x01;

/// What the newer meta page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Meta {
    page: u64,
    last_page: u64,
    roots: [u64; 2],
    transaction: u64,
}

/// What is wrong with a file, or the disk's own complaint.
#[derive(Debug)]
enum Finding {
    /// Not what LMDB writes, or cut.
    Damaged(&'static str),
    Io(io::Error),
}

impl From<io::Error> for Finding {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Damaged("it ends too early")
        } else {
            Self::Io(error)
        }
    }
}

/// Checks the data file of a folder before it is mapped; a missing or empty file is a new store.
///
/// A file that another process is just creating or committing to can look torn, so damage is looked at thrice.
pub(crate) fn check(path: &Path, folder: &Path) -> Result<()> {
    if cfg!(not(all(target_pointer_width = "64", target_endian = "little"))) {
        return Ok(());
    }
    let mut wait = Duration::from_millis(2);
    for _ in 0..2 {
        match examine(path) {
            Err(Finding::Damaged(_)) => std::thread::sleep(wait),
            other => return report(other, folder),
        }
        wait *= 5;
    }
    report(examine(path), folder)
}

/// Checks a file that is shorter than its last page, page by page, and then gives it its full length so that the
/// next opening need not look. The caller holds the write lock, so nobody changes the file meanwhile.
pub(crate) fn lengthen(path: &Path, folder: &Path) -> Result<()> {
    if cfg!(not(all(target_pointer_width = "64", target_endian = "little"))) {
        return Ok(());
    }
    let work = || -> Result<(), Finding> {
        let mut file = File::options().read(true).write(true).open(path)?;
        let meta = newest_meta(&mut file)?;
        let (len, full) = (
            file.metadata()?.len(),
            (meta.last_page + 1).saturating_mul(meta.page),
        );
        if len < full {
            walk(&mut file, &meta, len)?;
            file.set_len(full)?;
        }
        Ok(())
    };
    report(work(), folder)
}

fn report(outcome: Result<(), Finding>, folder: &Path) -> Result<()> {
    match outcome {
        Ok(()) => Ok(()),
        Err(Finding::Io(error)) => Err(io_error(
            "the online store's data file cannot be read",
            error,
            folder,
        )),
        Err(Finding::Damaged(what)) => {
            let message = format!("the online store's data file is damaged: {what}");
            Err(Error::new(ErrorKind::Corrupt, message)
                .with("folder", folder.display())
                .help("move the folder away and materialize again"))
        }
    }
}

fn examine(path: &Path) -> Result<(), Finding> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    let meta = newest_meta(&mut file)?;
    for root in meta.roots.into_iter().filter(|root| *root != NO_PAGE) {
        if root > meta.last_page {
            return Err(Finding::Damaged("a meta page points outside the file"));
        }
        let page = read_page(&mut file, &meta, root)?;
        page_kind(&page, root)?;
    }
    Ok(())
}

fn newest_meta(file: &mut File) -> Result<Meta, Finding> {
    let first = read_meta(file, 0)?;
    let second = read_meta(file, first.page)?;
    if second.page != first.page {
        return Err(Finding::Damaged("its two meta pages disagree"));
    }
    Ok(if second.transaction > first.transaction {
        second
    } else {
        first
    })
}

fn read_meta(file: &mut File, at: u64) -> Result<Meta, Finding> {
    let mut page = [0; META];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut page)?;
    if u16_at(&page, 10) & META_PAGE == 0 || u32_at(&page, 16) != MAGIC {
        return Err(Finding::Damaged("it is not an LMDB file"));
    }
    if u32_at(&page, 20) != FORMAT {
        // Opening it says so with the right kind of error.
        return Ok(Meta {
            page: at.max(4096),
            last_page: 1,
            roots: [NO_PAGE; 2],
            transaction: 0,
        });
    }
    let page_size = u64::from(u32_at(&page, 40));
    if !page_size.is_power_of_two() || !(512..=65536).contains(&page_size) {
        return Err(Finding::Damaged("a meta page is garbage"));
    }
    Ok(Meta {
        page: page_size,
        last_page: u64_at(&page, 136),
        roots: [u64_at(&page, 80), u64_at(&page, 128)],
        transaction: u64_at(&page, 144),
    })
}

fn read_page(file: &mut File, meta: &Meta, number: u64) -> Result<Vec<u8>, Finding> {
    let at = number
        .checked_mul(meta.page)
        .ok_or(Finding::Damaged("a page number is garbage"))?;
    let mut page = vec![0; usize::try_from(meta.page).unwrap_or(4096)];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut page)?;
    Ok(page)
}

/// The kind of a tree page, or a finding when it is none.
fn page_kind(page: &[u8], number: u64) -> Result<u16, Finding> {
    let kind = u16_at(page, 10) & (BRANCH | LEAF);
    if u64_at(page, 0) != number || (kind != BRANCH && kind != LEAF) {
        return Err(Finding::Damaged("a tree page is garbage"));
    }
    Ok(kind)
}

/// Visits every reachable page of a file that is shorter than its last page.
fn walk(file: &mut File, meta: &Meta, len: u64) -> Result<(), Finding> {
    let mut open: Vec<u64> = meta.roots.into_iter().filter(|root| *root != NO_PAGE).collect();
    let mut visited = 0;
    while let Some(number) = open.pop() {
        visited += 1;
        if visited > meta.last_page {
            return Err(Finding::Damaged("its tree runs in circles"));
        }
        let page = read_page(file, meta, number)?;
        let leaf = page_kind(&page, number)? == LEAF;
        let end = usize::from(u16_at(&page, 12)).clamp(HEADER, page.len());
        for slot in (HEADER..end).step_by(2) {
            let node = usize::from(u16_at(&page, slot));
            let Some(node) = page.get(node..).filter(|node| node.len() >= 8) else {
                return Err(Finding::Damaged("a tree page is garbage"));
            };
            let low = u64::from(u16_at(node, 0)) | u64::from(u16_at(node, 2)) << 16;
            let flags = u16_at(node, 4);
            if !leaf {
                open.push(low | u64::from(flags) << 32);
            } else if flags & BIG_DATA != 0 {
                let at = 8 + usize::from(u16_at(node, 6));
                if node.len() < at + 8 {
                    return Err(Finding::Damaged("a tree page is garbage"));
                }
                let end = u64_at(node, at)
                    .checked_mul(meta.page)
                    .and_then(|at| at.checked_add(16 + low));
                if end.is_none_or(|end| end > len) {
                    return Err(Finding::Damaged("it ends too early"));
                }
            }
        }
    }
    Ok(())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
