#!/usr/bin/perl
# Logs the request that Apache hands to it by CGI, in the file that LOG names.
use strict;
use warnings;

binmode STDIN;
my $body = do { local $/; <STDIN> } // '';
my @fields = map { unpack 'H*', $_ // '' } @ENV{qw(REQUEST_METHOD REQUEST_URI PATH_INFO QUERY_STRING HTTP_HOST HTTP_X_CASE)}, $body;
open my $log, '>>', $ENV{LOG} or die;
syswrite $log, "@fields\n";
print "Content-Type: application/json\r\n\r\n{}";
