//! What arrived, and faults.

use super::*;
use crate::sandbox::control::{Fault, FaultMode};
use std::time::{Duration, Instant};

const LIST: &str = "/v3/0123456789abcdef0123456789abcdef/keypairs";

async fn list(cloud: &Cloud) -> hyper::Result<Got> {
    let mut request = plain(KMS, "GET", LIST, &empty());
    request.headers_mut().insert("x-auth-token", "MIISANDBOXTOKENOFKEYADMIN0001".parse().unwrap());
    cloud.send(request).await
}

async fn ask(cloud: &Cloud, method: &str, target: &str, body: Value) -> Got {
    cloud.send(plain("sandbox.local", method, target, &body)).await.unwrap()
}

#[tokio::test]
async fn what_arrived_can_be_read() {
    let cloud = Cloud::start().await;
    let target = "/v2/%7E/os-keypairs/copy?a=%2F";
    let body = json!({"user_name": "kpsuser"});
    assert_eq!(
        cloud.send(plain(KMS, "POST", target, &body)).await.unwrap().status,
        401,
        "refused calls are seen too"
    );
    let seen = cloud.sandbox.seen();
    assert_eq!((seen.len(), seen[0].target.as_str(), seen[0].host.as_str()), (1, target, KMS));
    assert_eq!(
        (seen[0].action.as_str(), seen[0].body.clone()),
        ("huawei.kps.CopyKeypairs", body.to_string().into_bytes())
    );
    let told = ask(&cloud, "GET", "/_sandbox/seen", empty()).await.json();
    assert_eq!(
        (told["calls"][0]["path"].as_str(), told["calls"][0]["query"].as_str()),
        (Some("/v2/%7E/os-keypairs/copy"), Some("a=%2F"))
    );
    assert_eq!(told["calls"][0]["body"], body.to_string());
    assert_eq!(
        told["counters"],
        json!({"received": 1, "action.huawei.kps.CopyKeypairs": 1, "status.401": 1})
    );
    assert_eq!(ask(&cloud, "POST", "/_sandbox/reset", empty()).await.status, 200);
    assert!(cloud.sandbox.seen().is_empty());
    assert_eq!(ask(&cloud, "GET", "/v3/x/keypairs", empty()).await.status, 404);
}

#[tokio::test]
async fn a_fault_affects_as_many_calls_as_were_asked_for() {
    let cloud = Cloud::start().await;
    assert_eq!(
        ask(&cloud, "POST", "/_sandbox/fault", json!({"mode": "refuse-503", "times": 2}))
            .await
            .status,
        200
    );
    for status in [503, 503, 200] {
        assert_eq!(list(&cloud).await.unwrap().status, status);
    }
    assert_eq!(
        ask(&cloud, "POST", "/_sandbox/fault", json!({"mode": "explode"})).await.status,
        400
    );
    for mode in ["cut-after-head", "cut-mid-body"] {
        ask(&cloud, "POST", "/_sandbox/fault", json!({"mode": mode})).await;
        assert!(list(&cloud).await.is_err(), "{mode}");
        assert_eq!(list(&cloud).await.unwrap().status, 200);
    }
    ask(&cloud, "POST", "/_sandbox/fault", json!({"mode": "slow"})).await;
    let start = Instant::now();
    assert_eq!(list(&cloud).await.unwrap().status, 200);
    assert!(start.elapsed() >= Duration::from_millis(40));
}

#[tokio::test]
async fn a_call_that_hangs_has_taken_effect() {
    let cloud = Cloud::start().await;
    cloud.sandbox.set_fault(Fault { mode: FaultMode::Hang, times: 1 });
    let copy = cloud.admin(KMS, "DELETE", "/v3/{project}/keypairs/kp-ops", empty());
    assert!(tokio::time::timeout(Duration::from_millis(300), copy).await.is_err());
    assert_eq!(cloud.admin(KMS, "GET", "/v3/{project}/keypairs/kp-ops", empty()).await.status, 404);
}

#[tokio::test]
async fn a_call_that_hangs_does_not_hold_the_sandbox_open() {
    let cloud = Cloud::start().await;
    cloud.sandbox.set_fault(Fault { mode: FaultMode::Hang, times: 1 });
    let mut client = tokio::net::TcpStream::connect(cloud.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(
        &mut client,
        format!("GET {LIST} HTTP/1.1\r\nhost: {KMS}\r\n\r\n").as_bytes(),
    )
    .await
    .unwrap();
    while cloud.sandbox.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    cloud.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(2), cloud.served).await.unwrap().unwrap().unwrap();
}
