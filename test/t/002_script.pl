# The install script: rules that keep whoever runs it from being tricked, for all objects that there are and will be;
# and that the README's reference has each of them.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;

my ($share) = run_command([ $ENV{PG_CONFIG}, '--sharedir' ]);
my @scripts = map { glob("$_/extension/durable--*.sql") } -d "$ENV{DURABLE_TMP}/stage" ? "$ENV{DURABLE_TMP}/stage$share" : $share;

ok(@scripts > 0, 'there is a script');
for my $script (@scripts)
{
	my ($name) = $script =~ m{([^/]*)$};
	my $text = slurp_file($script);

	like($text, qr/\A\\echo Use "(CREATE|ALTER) EXTENSION durable.*\\quit$/m, "$name cannot be run by itself");

	# Statements, without strings and comments; bodies in dollar quotes count as strings.
	$text =~ s/^\\echo.*//;
	$text =~ s/\$(\w*)\$.*?\$\1\$/''/gs;
	$text =~ s{--[^\n]*|'(?:[^']|'')*'}{ substr($&, 0, 1) eq '-' ? '' : "''" }ge;
	my @statements = map { s/^\s+|\s+$//gr } split /;/, $text;
	my @bad;

	is(join("\n", grep { /\bOR\s+REPLACE\b/i } @statements), '', "$name replaces nothing that somebody may have put there");
	is(join("\n", grep { /\bIF\s+NOT\s+EXISTS\b/i } @statements), '', 'nor takes over what exists');
	@bad = grep {
		/^(?:CREATE|ALTER|DROP)\s+(?:UNIQUE\s+)?(?:FUNCTION|PROCEDURE|TABLE|VIEW|SEQUENCE|TYPE|DOMAIN|AGGREGATE)\s+(?:IF\s+EXISTS\s+)?(\S+)/i && $1 !~ /^durable(_internal)?\./
	} @statements;
	is(join("\n", @bad), '', 'names that it creates have a schema');
	@bad = grep { /\bSECURITY\s+DEFINER\b/i && !/\bSET\s+search_path\s*=\s*pg_catalog,\s*(durable,\s*)?pg_temp\b/i } @statements;
	is(join("\n", @bad), '', "functions that run with their owner's rights pin the search_path");
	@bad = grep { /^CREATE\s+(?:FUNCTION|PROCEDURE)\b/i && /\bLANGUAGE\s+(?:sql|plpgsql)\b/i && !/\bSET\s+search_path\s*=/i } @statements;
	is(join("\n", @bad), '', 'and so do all that are not in C');
	is(join("\n", grep { /^SELECT\s+(?!pg_catalog\.|durable_internal\.)/i } @statements), '', 'functions that it calls have a schema');
	is(join("\n", grep { /^(?:SET|RESET)\b/i } @statements), '', 'it changes no settings');

	my ($reference) = slurp_file('README.md') =~ /^## Reference\n(.*?)^## /ms;
	my %public = map { /^CREATE\s+(?:FUNCTION|PROCEDURE|VIEW|TABLE)\s+durable\.(\w+)/i ? ($1 => 1) : () } @statements;
	ok(keys %public > 60, 'public functions, views and tables are found');
	is(join(' ', grep { $reference !~ /`$_\b/ } sort keys %public), '', 'and the README names them');
}

done_testing();
