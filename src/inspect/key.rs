//! Public keys: what they are is read from the key's own bytes, never from its label.

use super::facts::PublicKey;
use ssh_key::public::{EcdsaPublicKey, KeyData};

/// Reads an OpenSSH public key line. What cannot be read is `unknown` with 0 bits, for policies to refuse.
pub fn read(text: &str) -> PublicKey {
    let line = text.trim_end_matches(['\r', '\n']);
    // The comment takes all that follows the key. Behind a line break that is a second key, as a server reads it.
    if line.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return UNKNOWN;
    }
    let parsed = ssh_key::PublicKey::from_openssh(line);
    let (algorithm, bits) = match parsed.as_ref().map(ssh_key::PublicKey::key_data) {
        Ok(KeyData::Ed25519(_)) => ("ed25519", 256),
        Ok(KeyData::Rsa(key)) => ("rsa", key.n.as_positive_bytes().map_or(0, bit_length)),
        Ok(KeyData::Dsa(key)) => ("dsa", key.p.as_positive_bytes().map_or(0, bit_length)),
        Ok(KeyData::Ecdsa(key)) => ("ecdsa", curve_bits(key)),
        Ok(KeyData::SkEd25519(_)) => ("sk-ed25519", 256),
        Ok(KeyData::SkEcdsaSha2NistP256(_)) => ("sk-ecdsa", 256),
        _ => return UNKNOWN,
    };
    PublicKey { algorithm, bits }
}

const UNKNOWN: PublicKey = PublicKey { algorithm: "unknown", bits: 0 };

fn curve_bits(key: &EcdsaPublicKey) -> i64 {
    match key {
        EcdsaPublicKey::NistP256(_) => 256,
        EcdsaPublicKey::NistP384(_) => 384,
        EcdsaPublicKey::NistP521(_) => 521,
    }
}

/// Bits of a positive big-endian number without leading zero bytes.
fn bit_length(bytes: &[u8]) -> i64 {
    let leading = bytes.first().map_or(0, |b| b.leading_zeros());
    i64::try_from(bytes.len() * 8).unwrap_or(i64::MAX) - i64::from(leading)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti keyward-test";

    #[test]
    fn ed25519_is_read_from_its_blob() {
        assert_eq!(read(ED25519), PublicKey { algorithm: "ed25519", bits: 256 });
        assert_eq!(read(&ED25519.replace("ssh-ed25519", "ssh-rsa")).algorithm, "unknown");
    }

    #[test]
    fn anything_else_is_unknown() {
        for text in ["", "ssh-rsa", "ssh-rsa AAAA", "-----BEGIN OPENSSH PRIVATE KEY-----", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL"] {
            assert_eq!(read(text), UNKNOWN, "{text}");
        }
        for between in ["\n", "\r\n", "\u{2028}", "\t", "\n\n"] {
            assert_eq!(read(&format!("{ED25519}{between}{ED25519}")), UNKNOWN, "{between:?}");
        }
        assert_eq!(read(&format!("{ED25519}\r\n")).algorithm, "ed25519");
    }
}
