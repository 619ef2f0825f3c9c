//! zstd without its library's panics: where there is no memory for it, that is an error, and may be
//! tried again.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, DDict};

/// Compresses pieces, keeping its working memory.
pub struct Zipper(CCtx<'static>);

impl Zipper {
    /// One of this level, with what all pieces have in common; nothing of that may be known.
    pub fn new(level: i32, dictionary: &[u8]) -> io::Result<Self> {
        let mut context = CCtx::try_create().ok_or(ErrorKind::OutOfMemory)?;
        context.set_parameter(CParameter::CompressionLevel(level)).map_err(failed)?;
        context.load_dictionary(dictionary).map_err(failed)?;
        Ok(Self(context))
    }

    /// A piece that says how much it holds.
    pub fn zip(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut zipped = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
        self.0.compress2(&mut zipped, bytes).map_err(failed)?;
        Ok(zipped)
    }
}

/// What a piece holds, which it says itself, at most `max` bytes. Working memory is kept for each
/// thread: making it costs more than most pieces.
///
/// # Errors
/// When the bytes are no such piece (`InvalidData`), or there is no memory.
pub fn unzip(piece: &[u8], max: usize, dictionary: Option<&DDict<'_>>) -> io::Result<Vec<u8>> {
    thread_local! {
        static CONTEXT: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
    }
    let invalid = |why: &str| io::Error::new(ErrorKind::InvalidData, why);
    let length = zstd_safe::get_frame_content_size(piece)
        .ok()
        .flatten()
        .and_then(|length| usize::try_from(length).ok());
    let length = length
        .filter(|length| *length <= max)
        .ok_or_else(|| invalid("it does not say how much it holds, or too much"))?;
    let mut bytes = Vec::with_capacity(length);
    CONTEXT.with(|context| {
        let mut context = context.try_borrow_mut().map_err(io::Error::other)?;
        let context = match &mut *context {
            Some(context) => context,
            none => none.insert(DCtx::try_create().ok_or(ErrorKind::OutOfMemory)?),
        };
        let done = match dictionary {
            Some(dictionary) => context.decompress_using_ddict(&mut bytes, piece, dictionary),
            None => context.decompress(&mut bytes, piece),
        };
        done.map_err(|code| invalid(zstd_safe::get_error_name(code)))
    })?;
    if bytes.len() == length { Ok(bytes) } else { Err(invalid("it holds less than it says")) }
}

/// All that can go wrong with bytes that are only compressed.
fn failed(code: usize) -> io::Error {
    io::Error::new(ErrorKind::OutOfMemory, zstd_safe::get_error_name(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_zipped_comes_back_and_nothing_else_does() {
        let mut zipper = Zipper::new(1, &[]).unwrap();
        for bytes in [b"".as_slice(), b"hello", &vec![7; 100_000]] {
            let zipped = zipper.zip(bytes).unwrap();
            assert_eq!(unzip(&zipped, bytes.len(), None).unwrap(), bytes);
            if !bytes.is_empty() {
                assert_eq!(
                    unzip(&zipped, bytes.len() - 1, None).unwrap_err().kind(),
                    ErrorKind::InvalidData
                );
                assert_eq!(
                    unzip(&zipped[..zipped.len() - 1], bytes.len(), None).unwrap_err().kind(),
                    ErrorKind::InvalidData
                );
            }
        }
        assert_eq!(unzip(b"no piece", 100, None).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
