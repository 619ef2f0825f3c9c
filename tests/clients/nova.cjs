// One call of the Huawei Node SDK, as a program of its user would make it. Takes a JSON document as its argument, writes one
// to standard error: the SDK writes its own log to standard output, complete failed requests with their Authorization
// header among it.
"use strict";
const { BasicCredentials } = require("@huaweicloud/huaweicloud-sdk-core");
const ecs = require("@huaweicloud/huaweicloud-sdk-ecs/v2/public-api");

const job = JSON.parse(process.argv[2]);

/** Dials the gateway whatever host a URL names; Host, SNI and the name that is verified stay the URL's. */
function dialling({ tls, host, port }) {
  const { Agent } = require(tls ? "node:https" : "node:http");
  return new (class extends Agent {
    createConnection(options, callback) {
      return super.createConnection({ ...options, host, port }, callback);
    }
  })();
}

function client() {
  const credential = new BasicCredentials().withAk(job.key).withSk(job.secret).withProjectId(job.project);
  const builder = ecs.EcsClient.newBuilder().withCredential(credential);
  if (!job.dial) return builder.withRegion(ecs.EcsRegion.CN_NORTH_4).build();
  const agent = dialling(job.dial);
  return builder
    .withEndpoint(`${job.dial.tls ? "https" : "http"}://ecs.cn-north-4.myhuaweicloud.com`)
    .withOptions({ axiosRequestConfig: { httpAgent: agent, httpsAgent: agent } })
    .build();
}

function call(nova) {
  if (!job.create) return nova.novaListKeypairs(new ecs.NovaListKeypairsRequest());
  const option = new ecs.NovaCreateKeypairOption(job.create.name);
  if (job.create.public_key) option.withPublicKey(job.create.public_key);
  const body = new ecs.NovaCreateKeypairRequestBody().withKeypair(option);
  return nova.novaCreateKeypair(new ecs.NovaCreateKeypairRequest().withBody(body));
}

call(client()).then(
  (answer) => process.stderr.write(JSON.stringify({ answer })),
  (error) => {
    const { name, message, errorCode, errorMsg, requestId, httpStatusCode } = error;
    process.stderr.write(JSON.stringify({ error: { name, message, errorCode, errorMsg, requestId, httpStatusCode } }));
    process.exitCode = 1;
  },
);
