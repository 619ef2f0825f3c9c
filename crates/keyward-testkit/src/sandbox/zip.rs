//! The smallest zip archive: stored entries, a directory, an end. Enough for the one answer that is
//! an archive.

/// An archive of named texts.
pub(super) fn archive(files: &[(String, String)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, text) in files {
        let offset = length(out.len());
        // Version 2.0, no flags, stored, 1 January 1980.
        let mut common = Vec::new();
        common.extend([20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0]);
        common.extend(crc32fast::hash(text.as_bytes()).to_le_bytes());
        common.extend(length(text.len()).to_le_bytes());
        common.extend(length(text.len()).to_le_bytes());
        common.extend(short(name.len()).to_le_bytes());
        common.extend([0, 0]);
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(text.as_bytes());
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        // No comment, first disk, no attributes.
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (count, start) = (short(files.len()), length(out.len()));
    out.extend(&directory);
    out.extend(b"PK\x05\x06\x00\x00\x00\x00");
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(length(directory.len()).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn short(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_archive_has_its_entries_where_its_directory_says() {
        let bytes = super::archive(&[
            ("a.pem".to_owned(), "first".to_owned()),
            ("b.pem".to_owned(), "second".to_owned()),
        ]);
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let end = bytes.len() - 22;
        assert_eq!(&bytes[end..end + 4], b"PK\x05\x06");
        let (size, start) = (number(end + 12), number(end + 16));
        assert_eq!(start + size, end);
        assert_eq!(&bytes[start..start + 4], b"PK\x01\x02");
        let second = start + 46 + 5;
        assert_eq!(number(second + 16), crc32fast::hash(b"second") as usize);
        let local = number(second + 42);
        assert_eq!(&bytes[local + 30..local + 41], b"b.pemsecond");
    }
}
