# Reads JSON with jq.
split(" ")[1] | @base64d | try ("=" + (fromjson | tojson)) catch ("!" + (. | tojson))
