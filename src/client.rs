//! A plain HTTP/1.1 client for the project's own use: the demo's calls, and the trail of a running gateway.
//! The address that is dialled and the Host that is named are two things.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;

/// Time for one call, all in all.
const DEADLINE: Duration = Duration::from_secs(60);

/// Sends one request on a connection of its own and reads the whole answer. The request's URI is path and query.
///
/// # Errors
/// When the connection fails, the answer breaks off, or a minute has passed.
pub async fn send(address: SocketAddr, request: Request<Bytes>) -> anyhow::Result<Response<Bytes>> {
    tokio::time::timeout(DEADLINE, exchange(address, request)).await.map_err(|_| anyhow::anyhow!("no answer within {} s", DEADLINE.as_secs()))?
}

async fn exchange(address: SocketAddr, request: Request<Bytes>) -> anyhow::Result<Response<Bytes>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request.map(Full::new)).await?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(parts, body))
}
