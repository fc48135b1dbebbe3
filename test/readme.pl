# Runs every ```sql block of README.md in order, in one session of psql in a fresh database, that of pg_cron if there is one:
# one assertion for each block.
# A ```text block right after it must be the end of what it prints. Blocks that need an extension which the server has not
# are skipped. Three more assertions: settings have the defaults that their table says, every durable.name exists, and the
# code of `make demo` is the README's.
use strict;
use warnings;

open(my $readme, '<', 'README.md') or die "README.md: $!";
my @lines = <$readme>;
my $text = join('', @lines);

# The script has each block on its own lines of the README, so that the line numbers of psql's messages are the README's.
my (@blocks, $script, $fence);
my $after = undef;    # the SQL block that only blank lines separate from here
foreach my $i (0 .. $#lines)
{
	my $line = $lines[$i];
	my $put = "\n";
	if (defined $fence && $line =~ /^```\s*$/)
	{
		$put = "; \\o \\\\ \\echo block done\n" if $fence eq 'sql';
		$after = $fence eq 'sql' ? $blocks[-1] : undef;
		undef $fence;
	}
	elsif (defined $fence)
	{
		$put = $line if $fence eq 'sql';
		$blocks[-1]{sql} .= $line if $fence eq 'sql';
		$after->{expected} .= $line if $fence eq 'text' && $after;
	}
	elsif ($line =~ /^```(\w*)\s*$/)
	{
		$fence = $1;
		if ($fence eq 'sql')
		{
			push @blocks, {line => $i + 1, sql => ''};
			my $out = "$ENV{DURABLE_TMP}/output/readme." . @blocks;
			$blocks[-1]{out} = $out;
			$put = "\\o $out\n";
		}
	}
	elsif ($line =~ /\S/)
	{
		undef $after;
	}
	$script .= $put;
}
die "README.md: a block does not end\n" if defined $fence;

my $database = 'postgres';

# The single value or rows of a query.
sub query
{
	my ($sql) = @_;
	open(my $psql, '-|', 'psql', '-XAtq', '-d', $database, '-c', $sql) or die "psql: $!";
	my @rows = <$psql>;
	close($psql) or die "$sql failed\n";
	chomp @rows;
	return @rows;
}

my ($name) = query("SELECT coalesce(current_setting('cron.database_name', true), 'readme')");
foreach my $statement ("DROP DATABASE IF EXISTS $name WITH (FORCE)", "CREATE DATABASE $name TEMPLATE template0")
{
	system('psql', '-Xqc', 'SET client_min_messages = error', '-c', $statement) == 0 or die "no database\n";
}
$database = $name;

# What cannot be created here is left out, the line numbers stay.
my %lacking;
foreach my $name ($script =~ /CREATE EXTENSION (?:IF NOT EXISTS )?(\w+)/gi)
{
	$lacking{$name} = 1
	  if system("psql -Xq -d $database -c 'BEGIN' -c 'CREATE EXTENSION $name CASCADE' -c 'ROLLBACK' >/dev/null 2>&1") != 0;
}
foreach my $block (@blocks)
{
	foreach my $name (keys %lacking)
	{
		$block->{skip} = $name if $block->{sql} =~ /\b\Q$name\E\b/;
	}
	next unless $block->{skip};
	my @script = split /^/, $script;
	my $count = () = $block->{sql} =~ /\n/g;
	$script[$_] = "\n" for ($block->{line} .. $block->{line} + $count - 1);
	$script = join('', @script);
}

my $file = "$ENV{DURABLE_TMP}/tmp/README.md";
open(my $out, '>', $file) or die "$file: $!";
print $out $script;
close($out) or die "$file: $!";

# Lines without trailing blanks and empty lines.
sub trimmed
{
	my ($text) = @_;
	return join("\n", grep { /\S/ } map { s/\s+$//r } split /\n/, $text);
}

# The end of what the block has printed differs from what the README says.
sub difference
{
	my ($block) = @_;
	return undef unless defined $block->{expected};
	open(my $printed, '<', $block->{out}) or return "$block->{out}: $!";
	my $got = trimmed(join('', <$printed>));
	my $expected = trimmed($block->{expected});
	return undef if $got eq $expected || substr($got, -length($expected) - 1) eq "\n$expected";
	return "expected:\n$expected\ngot:\n$got";
}

my $test = 0;
my $failed = 0;

sub report
{
	my ($ok, $what, $why) = @_;
	$test++;
	print $ok ? "ok $test - $what\n" : "not ok $test - $what\n";
	$failed++ unless $ok;
	print map { "# $_\n" } split /\n/, $why if !$ok && defined $why;
}

print '1..' . (@blocks + 3) . "\n";
my $done = 0;
open(my $psql, '-|', 'psql', '-Xq', '-P', 'footer=off', '-v', 'ON_ERROR_STOP=1', '-d', $database, '-f', $file)
  or die "psql: $!";
while (my $line = <$psql>)
{
	next if $line !~ /^block done$/;
	my $block = $blocks[ $done++ ];
	if ($block->{skip})
	{
		$test++;
		print "ok $test # SKIP README.md line $block->{line}: no extension $block->{skip}\n";
		next;
	}
	my $why = difference($block);
	report(!defined $why, "README.md line $block->{line}", $why);
}
close($psql);
foreach my $i ($done .. $#blocks)
{
	report(0, "README.md line $blocks[$i]{line}: " . ($i == $done ? 'failed' : 'not reached'));
}

# The settings' table: | `name` | default | ...
my @wrong;
foreach my $row (query("SELECT name || '|' || current_setting(name) FROM pg_settings WHERE name LIKE 'durable.%'"))
{
	my ($name, $default) = split /\|/, $row, 2;
	$default = $default eq '' ? 'empty' : "`$default`";
	push @wrong, "$name: $default" unless $text =~ /^\| `\Q$name\E` \| \Q$default\E \|/m;
}
report(!@wrong, 'the settings have the defaults that README.md says', join("\n", @wrong));

# durable.name, whatever it is the name of.
my %known = map { $_ => 1 } query(<<'SQL');
SELECT proname FROM pg_proc WHERE pronamespace = 'durable'::regnamespace
UNION SELECT typname FROM pg_type WHERE typnamespace = 'durable'::regnamespace
UNION SELECT split_part(name, '.', 2) FROM pg_settings WHERE name LIKE 'durable.%'
SQL
my %unknown = map { $_ => 1 } grep { !$known{$_} } $text =~ /\bdurable\.([a-z_]+)/g;
delete @unknown{qw(control so)};
report(!%unknown, 'every durable.name in README.md exists', join("\n", sort keys %unknown));

my @missing;
foreach my $setup (glob('test/demo/*-setup.sql'))
{
	open(my $sql, '<', $setup) or die "$setup: $!";
	my $code = join('', grep { !/^\\/ } <$sql>);
	foreach my $paragraph (split /\n\n+/, $code)
	{
		$paragraph =~ s/\s+$//;
		push @missing, "$setup:\n$paragraph" if index($text, $paragraph) < 0;
	}
}
report(!@missing, 'the code of the demo is in README.md', join("\n", @missing));

exit($failed ? 1 : 0);
