//! KPS, Nova, IMS and CPH.

use super::super::settings::PARTNER_PROJECT;
use super::*;

const COPY: &str = "/v2/{project}/os-keypairs/copy";
const GOLDEN: &str = "465076de-dc36-4aec-80f5-ef9d8009428f";

#[tokio::test]
async fn guarded_calls_need_a_good_signature_or_token() {
    let cloud = Cloud::start().await;
    let servers = json!({"servers": [{"server_id": "ae4d3b1c9f2e4a7d8c6b5a4f3e2d1c0b", "keypair_name": "kp-ops"}]});
    for (host, method, target, body) in [
        (KMS, "POST", COPY, json!({"user_name": "kpsuser"})),
        (CPH, "PUT", "/v1/{project}/cloud-phone/servers/open-access", servers),
        (
            IMS,
            "POST",
            "/v1/cloudimages/465076de-dc36-4aec-80f5-ef9d8009428f/copy",
            json!({"name": "copy"}),
        ),
        (
            IMS,
            "POST",
            "/v2.1/cloudimages/465076de-dc36-4aec-80f5-ef9d8009428f/copy",
            json!({"name": "copy"}),
        ),
    ] {
        assert_eq!(cloud.admin(host, method, target, body.clone()).await.status, 200, "{target}");
        let token = cloud
            .with(
                "x-auth-token",
                "MIISANDBOXTOKENOFKEYADMIN0001",
                host,
                method,
                target,
                body.clone(),
            )
            .await;
        assert_eq!(token.status, 200, "{target}");
        let mut forged = plain(host, method, &target.replace("{project}", PROJECT), &body);
        signing::sign(&wrong_key(), host, &mut forged, Timestamp::now()).unwrap();
        let refused = cloud.send(forged).await.unwrap();
        assert_eq!(
            (refused.status, refused.json()["error_code"].as_str()),
            (401, Some("APIGW.0301")),
            "{target}"
        );
        assert!(refused.json()["error_msg"].as_str().unwrap().contains("canonicalRequest:"));
        let refused = cloud.with("x-auth-token", "MIIforged", host, method, target, body).await;
        assert_eq!(
            (refused.status, refused.json()["error_code"].as_str()),
            (401, Some("APIG.0301")),
            "{target}"
        );
    }
}

#[tokio::test]
async fn a_copy_fails_in_part_and_force_overwrites() {
    let cloud = Cloud::start().await;
    let before = cloud.admin(KMS, "GET", "/v3/{project}/keypairs/kp-b", empty()).await.json();
    let copied = cloud.admin(KMS, "POST", COPY, json!({"user_name": "kpsuser"})).await.json();
    assert_eq!(copied["changed"], 2);
    assert_eq!(names(&copied["success"], "/keypair"), ["kp-a", "kp-c"]);
    assert_eq!(copied["failed"], json!([{"keypair": "kp-b", "message": "exist"}]));
    let kept = cloud.admin(KMS, "GET", "/v3/{project}/keypairs/kp-b", empty()).await.json();
    assert_eq!(kept["keypair"]["fingerprint"], before["keypair"]["fingerprint"]);
    // Loose servers take the text for the flag.
    let forced = cloud
        .admin(KMS, "POST", COPY, json!({"user_name": "kpsuser", "force": "true"}))
        .await
        .json();
    assert_eq!(
        (forced["changed"].as_u64(), forced["failed"].as_array().map(Vec::len)),
        (Some(3), Some(0))
    );
    let lost = cloud.admin(KMS, "GET", "/v3/{project}/keypairs/kp-b", empty()).await.json();
    assert_ne!(lost["keypair"]["fingerprint"], before["keypair"]["fingerprint"]);
    let nobody = cloud.admin(KMS, "POST", COPY, json!({"user_name": "nobody"})).await;
    assert_eq!((nobody.status, nobody.json()["error_code"].as_str()), (404, Some("KPS.2006")));
}

#[tokio::test]
async fn the_last_of_two_equal_keys_wins() {
    let cloud = Cloud::start().await;
    let mut request = plain(KMS, "POST", &COPY.replace("{project}", PROJECT), &empty());
    *request.body_mut() =
        Bytes::from_static(br#"{"user_name":"nobody","user_name":"kpsuser","extra":[1]}"#);
    request.headers_mut().insert("x-auth-token", "MIISANDBOXTOKENOFKEYADMIN0001".parse().unwrap());
    assert_eq!(cloud.send(request).await.unwrap().json()["changed"], 2);
}

#[tokio::test]
async fn a_key_pair_lives_from_create_to_delete() {
    let cloud = Cloud::start().await;
    let hosted = json!({"keypair": {"name": "kp-new", "key_protection": {"encryption": {"type": "default"}}}});
    let made = cloud.admin(KMS, "POST", "/v3/{project}/keypairs", hosted.clone()).await.json();
    let private = made["keypair"]["private_key"].as_str().unwrap().to_owned();
    assert!(private.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
    assert_eq!(cloud.admin(KMS, "POST", "/v3/{project}/keypairs", hosted).await.status, 400);
    let export = json!({"keypair": {"name": "kp-new"}});
    let exported = cloud
        .admin(KMS, "POST", "/v3/{project}/keypairs/private-key/export", export.clone())
        .await
        .json();
    assert_eq!(exported["keypair"]["private_key"], private.as_str());
    let zip = cloud
        .admin(KMS, "POST", "/v3/{project}/keypairs/private-key/batch-export", json!([export]))
        .await;
    assert!(
        zip.body.starts_with(b"PK\x03\x04")
            && zip.body.windows(private.len()).any(|w| w == private.as_bytes())
    );
    assert_eq!(
        cloud
            .admin(KMS, "DELETE", "/v3/{project}/keypairs/kp-new/private-key", empty())
            .await
            .status,
        200
    );
    assert_eq!(
        cloud
            .admin(
                KMS,
                "POST",
                "/v3/{project}/keypairs/private-key/export",
                json!({"keypair": {"name": "kp-new"}})
            )
            .await
            .status,
        400
    );
    let text = json!({"keypair": {"description": "lab"}});
    assert_eq!(cloud.admin(KMS, "PUT", "/v3/{project}/keypairs/kp-new", text).await.status, 200);
    let shown = cloud.admin(KMS, "GET", "/v2.1/{project}/os-keypairs/kp-new", empty()).await.json();
    assert_eq!(shown["keypair"]["description"], "lab");
    assert_eq!(
        cloud
            .signed("AKDEMOCI", KMS, "GET", &format!("/v3/{PROJECT}/keypairs/kp-new"), empty())
            .await
            .status,
        404
    );
    assert_eq!(
        cloud.admin(KMS, "DELETE", "/v2/{project}/os-keypairs/kp-new", empty()).await.status,
        202
    );
    assert_eq!(cloud.admin(KMS, "GET", "/v3/{project}/keypairs/kp-new", empty()).await.status, 404);
    let page =
        cloud.admin(KMS, "GET", "/v3/{project}/keypairs?limit=1&marker=kp-b", empty()).await.json();
    assert_eq!(names(&page["keypairs"], "/keypair/name"), ["kp-ops"]);
    assert_eq!(page["page_info"]["next_marker"], "kp-ops");
}

#[tokio::test]
async fn nova_is_another_door_to_the_same_key_pairs() {
    let cloud = Cloud::start().await;
    let body = json!({"keypair": {"name": "kp-nova", "public_key": PUBLIC}});
    let made = cloud.admin(ECS, "POST", "/v2.1/{project}/os-keypairs", body.clone()).await.json();
    assert_eq!(
        (made["keypair"]["public_key"].as_str(), made["keypair"].get("private_key")),
        (Some(PUBLIC), None)
    );
    let again = cloud.admin(ECS, "POST", "/v2.1/{project}/os-keypairs", body).await;
    assert_eq!(
        (again.status, again.json()["conflictingRequest"]["code"].as_u64()),
        (409, Some(409))
    );
    assert_eq!(
        cloud.admin(KMS, "GET", "/v3/{project}/keypairs/kp-nova", empty()).await.status,
        200
    );
    let private = cloud
        .admin(ECS, "POST", "/v2.1/{project}/os-keypairs", json!({"keypair": {"name": "kp-made"}}))
        .await
        .json();
    assert!(private["keypair"]["private_key"].as_str().unwrap().contains("OPENSSH PRIVATE KEY"));
    let missing = cloud.admin(ECS, "GET", "/v2.1/{project}/os-keypairs/none", empty()).await;
    assert_eq!((missing.status, missing.json()["itemNotFound"]["code"].as_u64()), (404, Some(404)));
}

#[tokio::test]
async fn an_image_copy_is_a_job_that_makes_an_image() {
    let cloud = Cloud::start().await;
    let body = json!({"name": "copy", "cmk_id": "k-1", "description": "d"});
    let job =
        cloud.admin(IMS, "POST", &format!("/v1/cloudimages/{GOLDEN}/copy"), body).await.json();
    let target = format!("/v1/{PROJECT}/jobs/{}", job["job_id"].as_str().unwrap());
    assert_eq!(cloud.admin(IMS, "GET", &target, empty()).await.json()["status"], "RUNNING");
    let done = cloud.admin(IMS, "GET", &target, empty()).await.json();
    assert_eq!(done["status"], "SUCCESS");
    let copy = done["entities"]["image_id"].as_str().unwrap();
    let shown = cloud.admin(IMS, "GET", &format!("/v2/images/{copy}"), empty()).await.json();
    assert_eq!(
        (shown["name"].as_str(), shown["__system__cmkid"].as_str()),
        (Some("copy"), Some("k-1"))
    );
    assert_eq!(
        cloud.admin(IMS, "DELETE", &format!("/v2/images/{copy}"), empty()).await.status,
        204
    );
    for (image, name, status, code) in [
        ("6c2d9b63-809f-4e1b-8c54-307f2d1e8b22", "x".to_owned(), 400, "IMG.0024"),
        ("7d3eac74-91a0-4f2c-9d65-41803e2f9c33", "x".to_owned(), 400, "IMG.0024"),
        ("9f50ce96-b3c2-414e-9f87-63a25041be55", "x".to_owned(), 403, "IMG.0101"),
        ("00000000-0000-0000-0000-000000000000", "x".to_owned(), 404, "IMG.0027"),
        (GOLDEN, "x".repeat(129), 400, "IMG.0002"),
    ] {
        let refused = cloud
            .admin(IMS, "POST", &format!("/v1/cloudimages/{image}/copy"), json!({"name": name}))
            .await;
        assert_eq!(
            (refused.status, refused.json()["error"]["code"].as_str()),
            (status, Some(code)),
            "{image}"
        );
    }
}

#[tokio::test]
async fn an_image_is_shared_by_two_doors() {
    let cloud = Cloud::start().await;
    let members = format!("/v2/images/{GOLDEN}/members");
    assert_eq!(
        cloud.admin(IMS, "POST", &members, json!({"member": PARTNER_PROJECT})).await.json()["status"],
        "pending"
    );
    assert_eq!(
        cloud.admin(IMS, "POST", &members, json!({"member": PARTNER_PROJECT})).await.status,
        409
    );
    let accept = json!({"status": "accepted"});
    assert_eq!(
        cloud.admin(IMS, "PUT", &format!("{members}/{PARTNER_PROJECT}"), accept).await.json()["status"],
        "accepted"
    );
    let batch = json!({"images": [GOLDEN], "projects": [PARTNER_PROJECT, "p2"]});
    assert_eq!(
        cloud.admin(IMS, "DELETE", "/v1/cloudimages/members", batch.clone()).await.status,
        200
    );
    assert_eq!(cloud.admin(IMS, "GET", &members, empty()).await.json()["members"], json!([]));
    assert_eq!(cloud.admin(IMS, "POST", "/v1/cloudimages/members", batch).await.status, 200);
    let listed = cloud
        .admin(IMS, "GET", &format!("/v1/{PROJECT}/cloudimages/{GOLDEN}/members"), empty())
        .await
        .json();
    assert_eq!(names(&listed["members"], "/member_id"), [PARTNER_PROJECT, "p2"]);
}

#[tokio::test]
async fn each_phone_server_fails_or_goes_well_on_its_own() {
    let cloud = Cloud::start().await;
    let server = |id: &str, keypair: &str| json!({"server_id": id, "keypair_name": keypair});
    let (good, frozen) = ("ae4d3b1c9f2e4a7d8c6b5a4f3e2d1c0b", "be5e4c2dad3f5b8e9d7c6b5a4f3e2d1c");
    let body = json!({"servers": [server(good, "kp-ops"), server(frozen, "kp-ops"), server("none", "kp-ops"), server(good, "no-such")]});
    let got =
        cloud.admin(CPH, "PUT", "/v1/{project}/cloud-phone/servers/open-access", body).await.json();
    let codes: Vec<_> =
        got["jobs"].as_array().unwrap().iter().map(|job| job["error_code"].as_str()).collect();
    assert_eq!(codes, [None, Some("CPS.0012"), Some("CPS.0005"), Some("CPS.0006")]);
    let servers =
        cloud.admin(CPH, "GET", "/v1/{project}/cloud-phone/servers", empty()).await.json();
    assert_eq!(names(&servers["servers"], "/keypair_name"), ["kp-ops", "kp-b", "kp-ops"]);
    let job = got["jobs"][0]["job_id"].as_str().unwrap();
    assert_eq!(
        cloud
            .admin(CPH, "GET", &format!("/v1/{PROJECT}/cloud-phone/jobs/{job}"), empty())
            .await
            .json()["status"],
        2
    );
    let jobs = cloud
        .admin(
            CPH,
            "GET",
            &format!(
                "/v1/{PROJECT}/cloud-phone/jobs?request_id={}",
                got["request_id"].as_str().unwrap()
            ),
            empty(),
        )
        .await
        .json();
    assert_eq!(names(&jobs["jobs"], "/job_id"), [job]);
    let none = cloud
        .admin(CPH, "PUT", "/v1/{project}/cloud-phone/servers/open-access", json!({"servers": []}))
        .await;
    assert_eq!((none.status, none.json()["error_code"].as_str()), (400, Some("CPS.0004")));
}

#[tokio::test]
async fn version_documents_need_no_credential() {
    let cloud = Cloud::start().await;
    let nova = cloud.send(plain(ECS, "GET", "/v2.1", &empty())).await.unwrap().json();
    assert_eq!(nova["version"]["links"][0]["href"], format!("http://{ECS}/v2.1/"));
    let glance = cloud.send(plain(IMS, "GET", "/v2/", &empty())).await.unwrap().json();
    assert_eq!(glance["versions"][0]["links"][0]["href"], format!("http://{IMS}/v2/"));
    let unknown = cloud.admin(KMS, "GET", "/v9/none", empty()).await;
    assert_eq!((unknown.status, unknown.json()["error_code"].as_str()), (404, Some("APIG.0101")));
}

#[tokio::test]
async fn a_client_that_dials_by_address_reaches_the_service_bound_to_it() {
    let bound = [("127.0.0.1:9".to_owned(), "huawei.ims".to_owned())].into();
    let cloud = Cloud::start_with(Settings { bound, ..Settings::default() }).await;
    let glance = cloud.send(plain("127.0.0.1:9", "GET", "/v2/", &empty())).await.unwrap().json();
    assert!(glance["versions"].is_array());
    assert_eq!(
        cloud.admin("127.0.0.1:8", "POST", COPY, json!({"user_name": "kpsuser"})).await.json()["changed"],
        2
    );
}
