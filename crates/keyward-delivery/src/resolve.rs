//! Addresses of names. The system looks for them on a thread of its own, and may have none to give:
//! then that is an error, where libraries panic.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread::Builder;
use tokio::sync::oneshot;

/// Does something that takes long, on a thread of its own.
///
/// # Errors
/// When the system has no thread for it, or it panicked.
async fn aside<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    Builder::new().name(name.to_owned()).spawn(move || drop(tell.send(work())))?;
    told.await.map_err(|_| io::Error::other("the thread ended without an answer"))
}

/// The addresses of a name, as the system knows them.
///
/// # Errors
/// When it has none, or the system has no thread to look for them.
pub async fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = name.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = name.to_owned();
    aside("keyward-resolve", move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect))
        .await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_and_addresses_have_addresses() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(resolve("127.0.0.1", 7).await.unwrap(), [address("127.0.0.1:7")]);
        assert_eq!(resolve("::1", 7).await.unwrap(), [address("[::1]:7")]);
        assert!(
            resolve("localhost", 7)
                .await
                .unwrap()
                .iter()
                .all(|found| found.ip().is_loopback() && found.port() == 7)
        );
        assert!(resolve("no such name", 7).await.is_err());
        assert!(
            aside("ends", || assert!(std::env::args().count() == 0)).await.is_err(),
            "a panic is an error"
        );
    }
}
