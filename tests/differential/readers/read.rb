# Reads JSON with Ruby's own json.
require "json"

STDIN.each_line do |line|
  body = line.split(" ")[1].to_s.unpack1("m").force_encoding("UTF-8")
  out =
    begin
      "=" + JSON.generate(JSON.parse(body), ascii_only: true)
    rescue StandardError => e
      "!" + e.message.dump
    end
  puts out
end
