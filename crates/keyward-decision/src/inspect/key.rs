//! Public keys: what they are is read from the key's own bytes, never from its label, and what
//! nobody could have made as a key is none.

use super::facts::PublicKey;
use super::rsa::RsaKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use elliptic::on_curve;
use ssh_key::public::{EcdsaPublicKey, Ed25519PublicKey, KeyData};

/// The names that a line may begin with.
const NAMES: &[&str] = &[
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-dss",
];

/// Reads an OpenSSH public key line. What cannot be read, or is no honest key, is `unknown` with
/// the reason, for policies to refuse. An RSA key is `unknown` too until [`super::rsa::check`] has
/// seen it.
pub fn read(text: &str) -> PublicKey {
    let line = text.trim_end_matches(['\r', '\n']);
    match one_line(line)
        .and_then(|(name, blob)| key_data(name, &blob))
        .and_then(|data| known(&data))
    {
        Ok(key) => key,
        Err(why) => PublicKey::unknown(why),
    }
}

/// Name and bytes of a key that is one line: its name, a blank, base64, and perhaps a blank and a
/// comment.
fn one_line(line: &str) -> Result<(&str, Vec<u8>), &'static str> {
    if line.trim().is_empty() {
        return Err("it is empty");
    }
    if let Some(why) = other_form(line) {
        return Err(why);
    }
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    let encoded = rest.split(' ').next().unwrap_or_default();
    if !NAMES.contains(&name) {
        return Err(no_name(name, rest));
    }
    if encoded.is_empty() {
        return Err("it must be the algorithm's name, one blank, and the key in base64");
    }
    let blob =
        STANDARD.decode(encoded).map_err(|_| "its base64 is cut or broken: copy the line whole")?;
    Ok((name, blob))
}

/// What is not one line of OpenSSH, and what to do.
fn other_form(line: &str) -> Option<&'static str> {
    if line.contains("PRIVATE KEY") || line.starts_with("PuTTY-User-Key-File") {
        return Some(
            "it is a private key, which nobody but its owner should have: make a new one, and send what `ssh-keygen -y -f FILE` writes of it",
        );
    }
    if line.trim_start().starts_with("-----BEGIN") {
        return Some(match line {
            _ if line.contains("BEGIN CERTIFICATE") => {
                "it is an X.509 certificate: send an OpenSSH public key"
            }
            _ if line.contains("BEGIN RSA PUBLIC KEY") => {
                "it is PEM and not one line of OpenSSH: send what `ssh-keygen -i -m PEM -f FILE` writes"
            }
            _ if line.contains("BEGIN PUBLIC KEY") => {
                "it is PEM and not one line of OpenSSH: send what `ssh-keygen -i -m PKCS8 -f FILE` writes"
            }
            _ => "it is PEM and not one line of OpenSSH: send an OpenSSH public key",
        });
    }
    if line.trim_start().starts_with("---- BEGIN SSH2") {
        return Some(
            "it has the form of RFC 4716 and is not one line of OpenSSH: send what `ssh-keygen -i -f FILE` writes",
        );
    }
    if line.starts_with('#') {
        return Some("it begins with a comment line: send the line of the key alone");
    }
    if line.starts_with(char::is_whitespace) {
        return Some("there is a blank in front of it: leave it out");
    }
    // The comment takes all that follows the key. Behind a line break that is a second key, as a
    // server reads it.
    if line.contains(['\n', '\r', '\u{2028}', '\u{2029}']) {
        return Some("it has more than one line: send one key on one line");
    }
    if line.contains('\t') {
        return Some("there is a tab in it: part name, key and comment with one blank each");
    }
    if line.contains(char::is_control) {
        return Some("there is a control character in it: leave it out");
    }
    let blanks = line.split_once(' ').is_some_and(|(_, rest)| rest.starts_with(' '));
    blanks.then_some("there are two blanks in it: part name, key and comment with one blank each")
}

/// Why a line does not begin with the name of an algorithm.
fn no_name(first: &str, rest: &str) -> &'static str {
    let named = |word: &str| {
        NAMES.contains(&word.trim_end_matches("-cert-v01@openssh.com"))
            || word.ends_with("-cert-v01@openssh.com")
    };
    if first.ends_with("-cert-v01@openssh.com") {
        return "it is a certificate: send the public key itself, as it stands in the `.pub` file without `-cert`";
    }
    if first.starts_with("rsa-sha2-") {
        return "its name is that of a signature: an RSA key's is `ssh-rsa`";
    }
    if first.starts_with("AAAA") {
        return "the name of its algorithm is missing: send the line whole, as it stands in the `.pub` file";
    }
    if rest.split(' ').any(named) {
        return "there are options in front of the key: send the key alone, beginning with the name of its algorithm";
    }
    "it does not begin with the name of an algorithm of OpenSSH, for example `ssh-ed25519`"
}

/// The key of a blob that has one form only.
fn key_data(name: &str, blob: &[u8]) -> Result<KeyData, &'static str> {
    let inner = blob
        .split_first_chunk::<4>()
        .and_then(|(length, rest)| rest.get(..u32::from_be_bytes(*length).try_into().ok()?));
    match inner {
        Some(inner) if inner != name.as_bytes() => {
            return Err("its name says another algorithm than the key itself");
        }
        Some(_) => {}
        None => return Err("it is cut: copy the line whole"),
    }
    let key = ssh_key::PublicKey::from_bytes(blob)
        .map_err(|_| "its bytes are cut, or too many, or no key of its algorithm")?;
    // Two blobs of one key would be two keys to whoever compares them.
    if key.to_bytes().ok().as_deref() != Some(blob) {
        return Err(
            "its numbers are not written in their shortest form: make its line anew by `ssh-keygen -e` and `ssh-keygen -i`",
        );
    }
    Ok(key.key_data().clone())
}

fn known(data: &KeyData) -> Result<PublicKey, &'static str> {
    match data {
        KeyData::Ed25519(key) => edwards(key).map(|()| PublicKey::known("ed25519", 256)),
        KeyData::SkEd25519(key) => {
            edwards(key.public_key()).map(|()| PublicKey::known("sk-ed25519", 256))
        }
        KeyData::Ecdsa(key) => {
            let bits = match key {
                EcdsaPublicKey::NistP256(point) => {
                    on_curve::<p256::NistP256>(point.as_bytes()).map(|()| 256)
                }
                EcdsaPublicKey::NistP384(point) => {
                    on_curve::<p384::NistP384>(point.as_bytes()).map(|()| 384)
                }
                EcdsaPublicKey::NistP521(point) => {
                    on_curve::<p521::NistP521>(point.as_bytes()).map(|()| 521)
                }
            };
            bits.map(|bits| PublicKey::known("ecdsa", bits))
        }
        KeyData::SkEcdsaSha2NistP256(key) => on_curve::<p256::NistP256>(key.ec_point().as_bytes())
            .map(|()| PublicKey::known("sk-ecdsa", 256)),
        KeyData::Rsa(key) => RsaKey::new(key.n.as_positive_bytes(), key.e.as_positive_bytes())
            .map(PublicKey::unproved),
        // No policy should take one: it is named, so that one can say so, and not checked.
        KeyData::Dsa(key) => {
            Ok(PublicKey::known("dsa", key.p.as_positive_bytes().map_or(0, bit_length)))
        }
        _ => Err("its algorithm is not known"),
    }
}

/// An honest key is a multiple of the base point in its one encoding.
fn edwards(key: &Ed25519PublicKey) -> Result<(), &'static str> {
    let point = ed25519_dalek::VerifyingKey::from_bytes(&key.0)
        .map_err(|_| "it is no point of the Ed25519 curve")?
        .to_edwards();
    if point.compress().as_bytes() != &key.0 {
        return Err("its point is not encoded as RFC 8032 says");
    }
    if point.is_small_order() {
        return Err("its point has a small order, so that anybody can sign for it");
    }
    if !point.is_torsion_free() {
        return Err(
            "its point is no multiple of the Ed25519 base point, as those of honest keys are",
        );
    }
    Ok(())
}

mod elliptic {
    use p256::elliptic_curve::sec1::{EncodedPoint, FromEncodedPoint, ModulusSize, ToEncodedPoint};
    use p256::elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytesSize, PublicKey};

    /// Whether the bytes are an uncompressed point of the curve, the only form that OpenSSH takes.
    /// The curves of NIST have no points of small order but infinity.
    pub fn on_curve<C>(bytes: &[u8]) -> Result<(), &'static str>
    where
        C: CurveArithmetic,
        FieldBytesSize<C>: ModulusSize,
        AffinePoint<C>: FromEncodedPoint<C> + ToEncodedPoint<C>,
    {
        let point = EncodedPoint::<C>::from_bytes(bytes).map_err(|_| "its point is malformed")?;
        if point.is_compressed() {
            return Err("its point is compressed, which OpenSSH does not take");
        }
        let key: Option<PublicKey<C>> = PublicKey::from_encoded_point(&point).into();
        key.map(drop).ok_or("its point is not on the curve, or is infinity")
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
    use crate::inspect::facts::{CallFacts, Fact};
    use crate::inspect::rsa;
    use std::path::Path;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti keyward-test";

    /// Read, and checked if it is an RSA key.
    fn checked(text: &str) -> PublicKey {
        let mut facts = CallFacts::default();
        facts.body.insert("key".to_owned(), Fact::Key(read(text)));
        let findings = rsa::check(&facts.unproved());
        facts.prove(&findings);
        let Some(Fact::Key(key)) = facts.body.remove("key") else { panic!("a key") };
        key
    }

    fn shipped(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/keys")
            .join(format!("{name}.pub"));
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    #[test]
    fn ed25519_is_read_from_its_blob() {
        assert_eq!(read(ED25519), PublicKey::known("ed25519", 256));
        assert_eq!(
            read(&ED25519.replace("ssh-ed25519", "ssh-rsa")).why,
            "its name says another algorithm than the key itself"
        );
    }

    #[test]
    fn anything_else_is_unknown() {
        for text in [
            "",
            "ssh-rsa",
            "ssh-rsa AAAA",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL",
            "ssh-ed25519 ",
            "ssh-rsa AAAA/////w==",
        ] {
            let key = read(text);
            assert!(key.algorithm == "unknown" && !key.why.is_empty(), "{text}");
        }
        for between in ["\n", "\r\n", "\u{2028}", "\t", "\n\n"] {
            assert_eq!(
                read(&format!("{ED25519}{between}{ED25519}")).algorithm,
                "unknown",
                "{between:?}"
            );
        }
        assert_eq!(read(&format!("{ED25519}\r\n")).algorithm, "ed25519");
    }

    #[test]
    fn honest_keys_are_known() {
        for (name, algorithm, bits, exponent) in [
            ("good-ed25519", "ed25519", 256, 0),
            ("good-sk-ed25519", "sk-ed25519", 256, 0),
            ("good-ecdsa-256", "ecdsa", 256, 0),
            ("good-ecdsa-384", "ecdsa", 384, 0),
            ("good-ecdsa-521", "ecdsa", 521, 0),
            ("good-sk-ecdsa", "sk-ecdsa", 256, 0),
            ("good-rsa-3072", "rsa", 3072, 65537),
            ("good-rsa-3072-large-exponent", "rsa", 3072, 4_294_967_311),
            ("good-rsa-4096", "rsa", 4096, 65537),
            ("good-rsa-8192", "rsa", 8192, 65537),
            ("weak-rsa-exponent-3", "rsa", 3072, 3),
        ] {
            let key = checked(&shipped(name));
            assert_eq!(
                (key.algorithm, key.bits, key.exponent, key.why),
                (algorithm, bits, exponent, ""),
                "{name}"
            );
        }
    }

    #[test]
    fn an_rsa_key_is_unknown_until_it_is_checked() {
        assert_eq!(read(&shipped("good-rsa-3072")).algorithm, "unknown");
    }

    #[test]
    fn what_anybody_or_nobody_can_sign_for_is_unknown() {
        for (name, why) in [
            ("weak-rsa-exponent-0", "negative or zero"),
            ("weak-rsa-exponent-minus-1", "negative or zero"),
            ("weak-rsa-exponent-1", "even or 1"),
            ("weak-rsa-exponent-2", "even or 1"),
            ("weak-rsa-exponent-65536", "even or 1"),
            ("weak-rsa-exponent-257-bits", "longer than 256 bits"),
            ("weak-rsa-exponent-long", "longer than 256 bits"),
            ("weak-rsa-modulus-negative", "negative or zero"),
            ("weak-rsa-modulus-zero", "negative or zero"),
            ("weak-rsa-even-modulus", "is even"),
            ("weak-rsa-power-of-two", "is even"),
            ("weak-rsa-power-of-three", "small factor"),
            ("weak-rsa-factor-751", "small factor"),
            ("weak-rsa-factor-65521", "small factor"),
            ("weak-rsa-smooth", "small factor"),
            ("weak-rsa-prime", "a prime or a prime's power"),
            ("weak-rsa-prime-squared", "too close"),
            ("weak-rsa-prime-cubed", "a power"),
            ("weak-rsa-product-cubed", "a power"),
            ("weak-rsa-close-factors", "too close"),
            ("weak-rsa-roca", "ROCA"),
            ("weak-rsa-8200-bits", "8192 bits"),
            ("weak-rsa-500-bits", "shorter than 512"),
            ("weak-rsa-bytes-behind", "too many"),
            ("weak-rsa-number-behind", "too many"),
            ("weak-rsa-cut", "cut"),
            ("weak-rsa-numbers-swapped", "256 bits"),
            ("weak-rsa-zero-in-front", "no key of its algorithm"),
            ("weak-rsa-exponent-zero-in-front", "no key of its algorithm"),
            ("weak-name-inside-of-signature", "another algorithm"),
            ("weak-ed25519-identity", "small order"),
            ("weak-ed25519-order-2", "small order"),
            ("weak-ed25519-order-4", "small order"),
            ("weak-ed25519-order-8", "small order"),
            ("weak-ed25519-zero-with-sign", "RFC 8032"),
            ("weak-ed25519-not-reduced", "RFC 8032"),
            ("weak-ed25519-off-curve", "no point"),
            ("weak-ed25519-mixed-order", "no multiple"),
            ("weak-ed25519-short", "no key of its algorithm"),
            ("weak-ed25519-bytes-behind", "too many"),
            ("weak-ed25519-named-rsa", "another algorithm"),
            ("weak-sk-ed25519-order-4", "small order"),
            ("weak-sk-ed25519-mixed-order", "no multiple"),
            ("weak-ecdsa-256-off-curve", "not on the curve"),
            ("weak-ecdsa-384-off-curve", "not on the curve"),
            ("weak-ecdsa-521-off-curve", "not on the curve"),
            ("weak-ecdsa-256-not-reduced", "not on the curve"),
            ("weak-ecdsa-256-infinity", "no key of its algorithm"),
            ("weak-ecdsa-256-compressed", "compressed"),
            ("weak-ecdsa-256-zero", "not on the curve"),
            ("weak-ecdsa-256-of-other-curve", "no key of its algorithm"),
            ("weak-ecdsa-256-named-384", "another algorithm"),
            ("weak-sk-ecdsa-off-curve", "not on the curve"),
        ] {
            let key = checked(&shipped(name));
            assert!(
                key.algorithm == "unknown" && key.bits == 0 && key.why.contains(why),
                "{name}: {key:?}"
            );
        }
    }

    #[test]
    fn other_forms_say_what_to_do() {
        for (name, why) in [
            ("form-pem", "ssh-keygen -i -m PEM -f FILE"),
            ("form-pkcs8", "ssh-keygen -i -m PKCS8 -f FILE"),
            ("form-rfc4716", "ssh-keygen -i -f FILE"),
            ("form-options", "options in front"),
            ("form-options-quoted", "options in front"),
            ("form-certificate", "a certificate"),
            ("form-certificate-x509", "X.509"),
            ("form-leading-blank", "blank in front"),
            ("form-tab-in-front", "blank in front"),
            ("form-tabs", "a tab"),
            ("form-two-blanks", "two blanks"),
            ("form-comment-line", "comment line"),
            ("form-two-keys", "more than one line"),
            ("form-bare-base64", "name of its algorithm is missing"),
            ("form-name-of-signature", "that of a signature"),
            ("form-base64-broken", "cut"),
            ("form-putty", "private key"),
        ] {
            let key = checked(&shipped(name));
            assert!(key.algorithm == "unknown" && key.why.contains(why), "{name}: {key:?}");
        }
    }
}
