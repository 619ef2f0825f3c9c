//! RSA moduli as numbers: whether a public key is one for which only its owner can sign.
//!
//! The checks are those of NIST SP 800-89, 5.3.3 (odd, no small factor, neither a prime nor a
//! prime's power), and of the known ways in which real keys were made badly: factors close to each
//! other (Fermat), and the fingerprint of CVE-2017-15361 (ROCA). They take a hundredth of a second
//! for 3072 bits, and with the cube of the length; so moduli are bounded, what was checked is
//! remembered, and one call has its budget.

use lru::LruCache;
use num_bigint::BigUint;
use num_integer::Integer;
use sha2::{Digest, Sha256};
use std::num::NonZeroUsize;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Longer moduli are not checked, and so not known.
const BITS_MAX: u64 = 8192;

/// Shorter ones are factored on a desk.
const BITS_MIN: u64 = 512;

/// FIPS 186-5, 5.1: a longer exponent is nobody's.
const EXPONENT_BITS_MAX: u64 = 256;

/// Factors below this are looked for one and all. SP 800-89 asks for 752.
const SMALL: u32 = 1 << 16;

/// Steps of Fermat's method. It finds factors that agree in the upper half of their digits.
const CLOSE_STEPS: usize = 100;

/// What the checks of one call may cost, in keys of 1024 bits: ten keys of 4096, or one of 8192.
const BUDGET: u64 = 640;

/// How many moduli are remembered as checked.
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// An RSA key whose numbers have the right form. Whether they are a key is for [`check`] to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsaKey {
    modulus: BigUint,
    /// The exponent; 2^63 - 1 stands for all that are longer.
    pub exponent: i64,
}

impl RsaKey {
    /// A key from its numbers, big endian; `None` for one that is negative or zero.
    ///
    /// # Errors
    /// Why the numbers can be no key.
    pub fn new(modulus: Option<&[u8]>, exponent: Option<&[u8]>) -> Result<Self, &'static str> {
        let modulus = modulus.ok_or("its RSA modulus is negative or zero")?;
        let exponent = exponent.ok_or("its RSA exponent is negative or zero")?;
        if modulus.len() as u64 > BITS_MAX / 8 + 1 {
            return Err(
                "its RSA modulus is longer than the 8192 bits up to which keys are checked: use 4096",
            );
        }
        if exponent.len() as u64 > EXPONENT_BITS_MAX / 8 + 1 {
            return Err("its RSA exponent is longer than 256 bits: use 65537");
        }
        let (modulus, exponent) =
            (BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(exponent));
        if modulus.bits() > BITS_MAX {
            return Err(
                "its RSA modulus is longer than the 8192 bits up to which keys are checked: use 4096",
            );
        }
        if modulus.bits() < BITS_MIN {
            return Err("its RSA modulus is shorter than 512 bits: anybody can factor it");
        }
        if exponent.bits() > EXPONENT_BITS_MAX {
            return Err("its RSA exponent is longer than 256 bits: use 65537");
        }
        if exponent.is_even() || exponent < BigUint::from(3u32) {
            return Err(
                "its RSA exponent is even or 1, so that anybody can sign for it, or nobody: use 65537",
            );
        }
        if modulus.is_even() {
            return Err("its RSA modulus is even, so that anybody can sign for it");
        }
        Ok(Self { modulus, exponent: i64::try_from(exponent).unwrap_or(i64::MAX) })
    }

    /// The length of the modulus, in bits.
    pub fn bits(&self) -> i64 {
        i64::try_from(self.modulus.bits()).unwrap_or(i64::MAX)
    }

    fn cost(&self) -> u64 {
        self.modulus.bits().pow(3) >> 30
    }
}

/// What was found of one modulus.
pub type Finding = Result<(), &'static str>;

/// Checks the keys of one call, in their order; each takes milliseconds the first time.
pub fn check(keys: &[RsaKey]) -> Vec<Finding> {
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(|| Mutex::new(LruCache::new(REMEMBERED)));
    check_with(keys, &KNOWN)
}

/// What was found, by the digest of the modulus.
type Known = LruCache<[u8; 32], Finding>;

fn check_with(keys: &[RsaKey], known: &Mutex<Known>) -> Vec<Finding> {
    let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
    let mut left = BUDGET;
    let one = |key: &RsaKey| {
        let print: [u8; 32] = Sha256::digest(key.modulus.to_bytes_be()).into();
        if let Some(found) = known().get(&print) {
            return *found;
        }
        left = left
            .checked_sub(key.cost())
            .ok_or("the call has more RSA keys than are checked at one time: send fewer")?;
        let found = strong(&key.modulus);
        known().put(print, found);
        found
    };
    keys.iter().map(one).collect()
}

/// From the cheapest check to the dearest.
fn strong(modulus: &BigUint) -> Finding {
    if has_small_factor(modulus) {
        return Err("its RSA modulus has a small factor, so that anybody can sign for it");
    }
    if is_roca(modulus) {
        return Err(
            "its RSA modulus was made by a broken generator (ROCA, CVE-2017-15361): make a new key",
        );
    }
    if has_close_factors(modulus) {
        return Err(
            "the factors of its RSA modulus are too close to each other, so that anybody can sign for it",
        );
    }
    if is_power(modulus) {
        return Err(
            "its RSA modulus is a power of another number, so that it is weaker than it is long",
        );
    }
    if has_one_prime(modulus) {
        return Err(
            "its RSA modulus is a prime or a prime's power, so that anybody can sign for it",
        );
    }
    Ok(())
}

fn primes(below: u32) -> Vec<u32> {
    let mut primes: Vec<u32> = vec![2];
    for candidate in (3..below).step_by(2) {
        if primes.iter().take_while(|p| **p * **p <= candidate).all(|p| candidate % p != 0) {
            primes.push(candidate);
        }
    }
    primes
}

fn product(factors: &[u32]) -> BigUint {
    match factors {
        [] => BigUint::from(1u32),
        [one] => BigUint::from(*one),
        _ => {
            let (a, b) = factors.split_at(factors.len() / 2);
            product(a) * product(b)
        }
    }
}

fn has_small_factor(n: &BigUint) -> bool {
    static SMALL_PRIMES: LazyLock<BigUint> = LazyLock::new(|| product(&primes(SMALL)));
    n.gcd(&(&*SMALL_PRIMES % n)) != BigUint::from(1u32)
}

/// Both factors of such a modulus are powers of 65537 modulo each of many small primes, and so is
/// their product.
fn is_roca(n: &BigUint) -> bool {
    primes(168).into_iter().skip(1).all(|p| {
        let rest = n % p;
        let mut power = 1;
        loop {
            if rest == BigUint::from(power) {
                return true;
            }
            power = power * (65537 % p) % p;
            if power == 1 {
                return false;
            }
        }
    })
}

fn has_close_factors(n: &BigUint) -> bool {
    let mut a = n.sqrt();
    if &a * &a < *n {
        a += 1u32;
    }
    let mut rest = &a * &a - n;
    for _ in 0..CLOSE_STEPS {
        if is_square(&rest) {
            return true;
        }
        rest += (&a << 1u32) + 1u32;
        a += 1u32;
    }
    false
}

fn is_square(n: &BigUint) -> bool {
    // Squares leave 12 of the 64 rests.
    const RESTS: u64 = 0x0202_0212_0203_0213;
    let rest = n.iter_u64_digits().next().unwrap_or(0) % 64;
    RESTS >> rest & 1 == 1 && {
        let root = n.sqrt();
        &root * &root == *n
    }
}

/// A root has no small factor either, so that few powers come into question. Squares were found as
/// close factors.
fn is_power(n: &BigUint) -> bool {
    let highest = u32::try_from(n.bits() / u64::from(SMALL.ilog2())).unwrap_or(u32::MAX);
    primes(highest + 1).into_iter().any(|k| n.nth_root(k).pow(k) == *n)
}

/// Fermat's little theorem: for a prime p in a power n of it, 2^n - 2 is a multiple of p. For the
/// product of two primes that were chosen by chance it has no factor in common with n.
fn has_one_prime(n: &BigUint) -> bool {
    let two = BigUint::from(2u32);
    let power = two.modpow(n, n);
    let difference = if power >= two { power - two } else { power + n - two };
    n.gcd(&difference) != BigUint::from(1u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::facts::{CallFacts, Fact};
    use crate::inspect::key;

    /// What the checks cost is bounded for each call, however many keys it has.
    #[test]
    fn one_call_has_its_budget() {
        let names = [
            "good-rsa-8192",
            "good-rsa-4096",
            "good-rsa-3072-large-exponent",
            "weak-rsa-smooth",
            "good-rsa-3072",
            "weak-rsa-close-factors",
            "weak-rsa-roca",
        ];
        let text = |name: &str| {
            std::fs::read_to_string(format!(
                "{}/../../tests/keys/{name}.pub",
                env!("CARGO_MANIFEST_DIR")
            ))
            .unwrap()
        };
        let mut facts = CallFacts::default();
        facts.body.insert(
            "keys".to_owned(),
            Fact::List(names.iter().map(|name| Fact::Key(key::read(&text(name)))).collect()),
        );
        let (keys, known) = (facts.unproved(), Mutex::new(LruCache::new(REMEMBERED)));
        let told: Vec<&str> = check_with(&keys, &known)
            .iter()
            .map(|finding| finding.err().unwrap_or_default())
            .collect();
        assert_eq!(told.iter().position(|why| why.contains("more RSA keys")), Some(4), "{told:?}");
        assert_eq!(
            check_with(&keys, &known).iter().filter(|finding| finding.is_ok()).count(),
            4,
            "what was checked costs nothing again"
        );
    }
}
