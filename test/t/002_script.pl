# The install and upgrade scripts: rules that keep whoever runs them from being tricked, for all that there are and will be.
# What the objects are like once created is in sql/conventions.sql.  And that the manual names each of them.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;

# What is wrong with a script, as a list of "rule: statement".
sub problems
{
	my ($name, $text) = @_;
	my $upgrade = $name =~ /--.*--/;
	my $verb = $upgrade ? 'ALTER' : 'CREATE';
	my @problems;

	push @problems, 'can be run by itself: ' . ($text =~ /\A([^\n]*)/)[0] unless $text =~ /\A\\echo Use "$verb EXTENSION durable.*\\quit$/m;

	# Statements, without strings and comments; bodies in dollar quotes count as strings, those of DO are looked at by themselves.
	$text =~ s/^\\echo.*//;
	push @problems, "runs a code block: $&" if $text =~ /^\s*DO\b.*/mi;
	$text =~ s/\$(\w*)\$.*?\$\1\$/''/gs;
	$text =~ s{--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'}{ substr($&, 0, 1) eq "'" ? "''" : '' }gse;
	# the body of a function in standard SQL has statements of its own; its names are bound when it is created
	$text =~ s/\bBEGIN\s+ATOMIC\b.*?\bEND\s*;/'';/gsi;
	my @statements = grep { length } map { s/^\s+|\s+$//gr } split /;/, $text;
	my $kinds = qr/FUNCTION|PROCEDURE|ROUTINE|TABLE|VIEW|MATERIALIZED\s+VIEW|SEQUENCE|TYPE|DOMAIN|AGGREGATE|INDEX|POLICY|TRIGGER|STATISTICS|COLLATION|OPERATOR\s+CLASS/i;

	for my $statement (@statements)
	{
		my $start = substr($statement =~ s/\s+/ /gr, 0, 100);
		my $problem = sub { push @problems, "$_[0]: $start" };

		$problem->('replaces what somebody may have put there') if $statement =~ /\bOR\s+REPLACE\b/i;
		$problem->('takes over what exists') if $statement =~ /\bIF\s+NOT\s+EXISTS\b/i;
		if ($statement =~ /^(?:CREATE|ALTER|DROP|COMMENT\s+ON)\s+(?:UNIQUE\s+|CONSTRAINT\s+)?($kinds)\s+(?:IF\s+EXISTS\s+)?(.*)/is)
		{
			my ($kind, $rest) = (uc $1, $2);
			# an index, policy or trigger is in the schema of its table
			my ($object) = $kind =~ /^(?:INDEX|POLICY|TRIGGER)$/ && $statement !~ /^(?:DROP|ALTER)\s+INDEX/i ? $rest =~ /\bON\s+(?:ONLY\s+)?(\S+)/i : $rest =~ /^(\S+)/;

			$problem->('has a name without the schema') if ($object // '') !~ /^durable(_internal)?\./;
		}
		# operators of a type of ours, which are found by that type or by their schema
		elsif ($statement =~ /^CREATE\s+OPERATOR\s+durable_internal\.\S+\s*\(\s*LEFTARG = durable_internal\.\w+, RIGHTARG = durable_internal\.\w+,/i)
		{
		}
		elsif ($statement =~ /^(?:CREATE|ALTER)\s+(?!SCHEMA\s+durable(?:_internal)?$)/i)
		{
			$problem->('creates or alters what only a superuser may, or everybody sees');
		}
		$problem->('has the rights of its owner and no safe search_path')
		  if $statement =~ /\bSECURITY\s+DEFINER\b/i && $statement !~ /\bSET\s+search_path\s*=\s*pg_catalog,\s*(durable,\s*)?pg_temp\b/i;
		$problem->('has no safe search_path')
		  if $statement =~ /^CREATE\s+(?:FUNCTION|PROCEDURE)\b/i && $statement =~ /\bLANGUAGE\s+(?:sql|plpgsql)\b/i
			  && $statement !~ /\bSET\s+search_path\s*=\s*pg_catalog,\s*(durable,\s*)?pg_temp\b/i;
		$problem->('is in C, from another library') if $statement =~ /^CREATE\s+FUNCTION\b/i && $statement =~ /\bLANGUAGE\s+C\b/i && $statement !~ /\bAS\s+''/i;
		$problem->('calls a function without its schema') if $statement =~ /^(?:SELECT|CALL|PERFORM)\s+(?!pg_catalog\.|durable_internal\.)/i;
		$problem->('is what everybody gets who names none') if $statement =~ /^CREATE\s+OPERATOR\s+CLASS\s+\S+\s+DEFAULT\b(?!\s+FOR\s+TYPE\s+durable_internal\.)/i;
		$problem->('changes settings') if $statement =~ /^(?:SET|RESET)\b/i;
		$problem->('gives to everybody') if $statement =~ /^GRANT\b.*\bTO\b.*\bPUBLIC\b/is || $statement =~ /\bALTER\s+DEFAULT\s+PRIVILEGES\b/i;
		$problem->('grants roles') if $statement =~ /^GRANT\s+(?!.*\bON\b)/is;
		$problem->('writes into a table without the schema')
		  if $statement =~ /^(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM|TRUNCATE|LOCK(?:\s+TABLE)?)\s+(?:ONLY\s+)?(\S+)/i && $1 !~ /^durable(_internal)?\./;
		# operators and functions in what the script itself runs are looked up in the path of the installation's schema
		$problem->('uses operators in a statement that it runs') if $statement =~ /^(?:INSERT|UPDATE|DELETE|SELECT)\b/i && $statement =~ /(?<!\bSET\s)(?<![\w.])[<>=~!@#%^&|`?+-]+(?!\s*'')/ && $statement !~ /\bOPERATOR\s*\(/i
			  && $statement !~ /^UPDATE\s+\S+\s+SET\s+\w+\s*=\s*\S+$/i;
	}
	push @problems, 'leaves what it creates to everybody'
	  if grep({ /^CREATE\s+(?:FUNCTION|PROCEDURE|AGGREGATE)\b/i } @statements)
	  && $statements[-1] !~ /^REVOKE ALL ON ALL ROUTINES IN SCHEMA durable, durable_internal FROM PUBLIC$/;
	return @problems;
}

my ($share) = run_command([ $ENV{PG_CONFIG}, '--sharedir' ]);
my @scripts = map { glob("$_/extension/durable--*.sql") } -d "$ENV{DURABLE_TMP}/stage" ? "$ENV{DURABLE_TMP}/stage$share" : $share;

ok(@scripts > 0, 'there are scripts');
for my $script (@scripts)
{
	my ($name) = $script =~ m{([^/]*)$};

	my $text = slurp_file($script);
	is(join("\n", problems($name, $text)), '', "$name keeps the rules");

	my $manual = join('', map { slurp_file($_) } glob('docs/*.md'));
	my %public = map { $_ => 1 } $text =~ /^CREATE\s+(?:FUNCTION|PROCEDURE|VIEW|TABLE)\s+durable\.(\w+)/gim;
	cmp_ok(scalar(keys %public), '>', 60, 'public functions, views and tables are found') if $name !~ /--.*--/;
	is(join(' ', grep { $manual !~ /`$_\b/ } sort keys %public), '', 'and the manual names them');
}

# The rules find what they are for.
my $first = qq(\\echo Use "ALTER EXTENSION durable UPDATE" to load this file. \\quit\n);
my $last = "REVOKE ALL ON ALL ROUTINES IN SCHEMA durable, durable_internal FROM PUBLIC;\n";
my %bad = (
	'can be run by itself' => [ 'CREATE TABLE durable.x (a int);', '' ],
	'runs a code block' => [ 'DO $$ BEGIN NULL; END $$;' ],
	'replaces what somebody may have put there' => [ q(CREATE OR REPLACE FUNCTION durable.x() RETURNS int LANGUAGE C AS 'MODULE_PATHNAME';) ],
	'takes over what exists' => [ 'CREATE TABLE IF NOT EXISTS durable.x (a int);' ],
	'has a name without the schema' => [ 'ALTER TABLE x ADD b int;' ],
	'has the rights of its owner and no safe search_path' => [ q(CREATE FUNCTION durable.x() RETURNS int LANGUAGE C SECURITY DEFINER AS 'MODULE_PATHNAME';) ],
	'has no safe search_path' => [ 'CREATE FUNCTION durable.x() RETURNS int LANGUAGE sql SET search_path = public AS $$ SELECT 1 $$;' ],
	'is in C, from another library' => [ q(CREATE FUNCTION durable.x() RETURNS int LANGUAGE C AS $x$evil$x$ || '';) =~ s/ AS .*/;/r ],
	'calls a function without its schema' => [ 'SELECT now();' ],
	'changes settings' => [ 'SET search_path = public;' ],
	'gives to everybody' => [ 'GRANT SELECT ON durable.instances TO alice, PUBLIC;' ],
	'grants roles' => [ 'GRANT pg_monitor TO alice;' ],
	'writes into a table without the schema' => [ 'UPDATE instances SET a = 1;' ],
	'uses operators in a statement that it runs' => [ 'UPDATE durable_internal.instances SET state = state || name;' ],
	'creates or alters what only a superuser may, or everybody sees' => [ 'CREATE OPERATOR durable.= (FUNCTION = durable.x, LEFTARG = int, RIGHTARG = int);' ],
	'is what everybody gets who names none' => [ 'CREATE OPERATOR CLASS durable.x DEFAULT FOR TYPE text USING brin AS STORAGE text;' ],
	'leaves what it creates to everybody' => [ q(CREATE FUNCTION durable.x() RETURNS int LANGUAGE C AS 'MODULE_PATHNAME';), $first, '' ],
);
for my $rule (sort keys %bad)
{
	my ($statement, $begin, $end) = @{ $bad{$rule} };
	my @problems = problems('durable--1--2.sql', ($begin // $first) . $statement . "\n" . ($end // $last));

	ok(scalar(grep { /^\Q$rule\E: / || $_ eq $rule } @problems), "the rules find what $rule") or diag(join "\n", @problems);
}
is(join("\n", problems('durable--1--2.sql', $first . q[
ALTER TABLE durable_internal.instances ADD COLUMN extra text;
UPDATE durable_internal.instances SET extra = 'x';
CREATE INDEX instances_extra ON durable_internal.instances (extra);
DROP FUNCTION durable.old(text);
CREATE FUNCTION durable.new(a text) RETURNS boolean LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT a = 'x' $$;
COMMENT ON FUNCTION durable.new(text) IS 'new; better';
SELECT pg_catalog.pg_extension_config_dump('durable_internal.instances', '');
] . $last)), '', 'and nothing in a good script');

done_testing();
