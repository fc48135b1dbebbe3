# Runs TAP tests, Perl (*.pl) and pgTAP (*.sql): prove.pl tally-file jobs files...
# Writes the numbers of assertions passed and failed to the tally file, which prove does not offer.
use strict;
use warnings;
use TAP::Harness;

my ($tally, $jobs, @files) = @ARGV;
my %sources = (Perl => {});

if (grep { /\.sql$/ } @files)
{
	require TAP::Parser::SourceHandler::pgTAP;
	$sources{pgTAP} = {
		suffix => '.sql',
		dbname => $ENV{PGDATABASE},
		host => $ENV{PGHOST},
		port => $ENV{PGPORT},
		username => $ENV{PGUSER},
	};
}

my $harness = TAP::Harness->new(
	{ timer => 1, failures => 1, comments => 1, jobs => $jobs, sources => \%sources });
my $result = $harness->runtests(@files);

# A file that died or missed its plan has failed even if each assertion passed.
my $failed = $result->failed;
foreach my $parser ($result->parsers)
{
	$failed++ if $parser->has_problems && !$parser->failed;
}

open(my $out, '>', $tally) or die "$tally: $!";
printf $out "%d %d\n", scalar $result->passed, $failed;
close($out) or die "$tally: $!";
exit($failed ? 1 : 0);
