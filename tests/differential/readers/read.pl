# Reads JSON with JSON::PP, which comes with Perl.
use strict;
use warnings;
use JSON::PP;
use MIME::Base64;

my $reader = JSON::PP->new->utf8;
my $writer = JSON::PP->new->ascii->allow_nonref;
while (my $line = <STDIN>) {
    my (undef, $body) = split / /, $line;
    my $out = eval { '=' . $writer->encode($reader->decode(decode_base64($body))) };
    # Its errors quote what it could not read.
    $out = '!' . $writer->encode("$@") unless defined $out;
    print "$out\n";
}
