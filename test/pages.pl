# Tests the pages of the manual that $DURABLE_TMP/pages names, one a line.
#
# Of each page every ```sql block runs, one assertion for each: in order, in one session of psql, in a fresh database of the page's
# own. The extension is there already unless the page creates it. What a page needs besides, it defines. The database and the roles
# that the page has created are dropped afterwards. A page that creates pg_cron runs in pg_cron's database.
# A ```text block right after a ```sql block must be the end of what the block prints. Blocks that need an extension that the
# server does not have are skipped.
#
# Further assertions for each page: blocks in sh, js and python have no syntax errors (test/t/073_gateway_page.pl runs the sh blocks
# of the gateway), the target of each relative link exists, and each durable.name exists. For the manual as a whole: README.md is short, the table of settings
# has the right defaults, and the code of `make demo` is on one page.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Path qw(make_path);
use Test::More;

my @manual = ('README.md', 'CONTRIBUTING.md', glob('docs/*.md'), 'test/README.md', 'test/bench/README.md');
my $longest_readme = 200;

sub slurp
{
	my ($file) = @_;
	open(my $in, '<:encoding(UTF-8)', $file) or die "$file: $!\n";
	local $/;
	return scalar <$in>;
}

my %text = map { ($_ => slurp($_)) } @manual;

# The rows of a query.
sub query
{
	my ($database, $sql) = @_;
	open(my $psql, '-|', 'psql', '-XAtq', '-d', $database, '-c', $sql) or die "psql: $!\n";
	chomp(my @rows = <$psql>);
	close($psql) or die "$sql failed\n";
	return @rows;
}

sub administrate
{
	my ($database, @statements) = @_;
	my @commands = map { ('-c', $_) } 'SET client_min_messages = error', @statements;
	system('psql', '-Xqo', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-d', $database, @commands) == 0 or die "@statements failed\n";
}

sub fresh_database
{
	my ($database, @extensions) = @_;
	administrate('postgres', "DROP DATABASE IF EXISTS $database WITH (FORCE)", "CREATE DATABASE $database TEMPLATE template0");
	administrate($database, map { "CREATE EXTENSION $_" } @extensions) if @extensions;
}

sub roles
{
	return query('postgres', 'SELECT quote_ident(rolname) FROM pg_roles');
}

# The fenced blocks of a page: language, line of the opening fence, code, and for one that a text block follows the text, expected.
sub blocks
{
	my ($page) = @_;
	my @blocks;
	my ($open, $last, $number) = (undef, undef, 0);
	foreach my $line (split /^/, $text{$page})
	{
		$number++;
		if ($open && $line =~ /^```\s*$/)
		{
			$last->{expected} = $open->{code} if $open->{language} eq 'text' && $last;
			$last = $open->{language} eq 'text' ? undef : $open;
			undef $open;
		}
		elsif ($open)
		{
			$open->{code} .= $line;
		}
		elsif ($line =~ /^```(\w*)\s*$/)
		{
			push @blocks, $open = { language => $1, line => $number, code => '' };
		}
		elsif ($line =~ /\S/)
		{
			undef $last;
		}
	}
	die "$page: the block of line $open->{line} does not end\n" if $open;
	return @blocks;
}

# Lines without trailing blanks and empty lines.
sub trimmed
{
	my ($text) = @_;
	return join("\n", grep { /\S/ } map { s/\s+$//r } split /\n/, $text);
}

# How the end of what a block has printed differs from what the page says.
sub difference
{
	my ($block) = @_;
	return undef unless defined $block->{expected};
	my $got = trimmed(slurp($block->{out}));
	my $expected = trimmed($block->{expected});
	return undef if $got eq $expected || substr($got, -length($expected) - 1) eq "\n$expected";
	return "expected:\n$expected\ngot:\n$got";
}

# Writes a script that has the code of each block on the lines where the page has it, so that the line numbers in psql's messages
# are the page's. The lines of the fences redirect the output.
sub write_script
{
	my ($page, $file, @blocks) = @_;
	my @lines = ("\n") x (() = $text{$page} =~ /\n/g);
	foreach my $block (@blocks)
	{
		my @code = split /^/, $block->{code};
		$lines[ $block->{line} - 1 ] = "\\o $block->{out}\n";
		@lines[ $block->{line} .. $block->{line} + $#code ] = @code unless $block->{skip};
		$lines[ $block->{line} + @code ] = "; \\o \\\\ \\echo block done\n";
	}
	make_path(dirname($file));
	open(my $out, '>:encoding(UTF-8)', $file) or die "$file: $!\n";
	print $out @lines;
	close($out) or die "$file: $!\n";
}

sub run_sql
{
	my ($page) = @_;
	my @blocks = grep { $_->{language} eq 'sql' } blocks($page) or return;
	my $name = lc($page =~ s/\.md$//r =~ s/\W/_/gr);
	my $code = join('', map { $_->{code} } @blocks);
	my $database = $code =~ /CREATE EXTENSION pg_cron/
	  ? (query('postgres', "SELECT coalesce(current_setting('cron.database_name', true), '$name')"))[0] : $name;
	my %others = map { $_ => 1 } roles();
	fresh_database($database, $code =~ /CREATE EXTENSION durable\b/ ? () : 'durable');

	my @lacking = grep { system("psql -Xq -d $database -c 'BEGIN' -c 'CREATE EXTENSION $_ CASCADE' -c 'ROLLBACK' >/dev/null 2>&1") != 0 }
	  $code =~ /CREATE EXTENSION (?:IF NOT EXISTS )?(\w+)/gi;
	foreach my $block (@blocks)
	{
		$block->{out} = "$ENV{DURABLE_TMP}/output/$name.$block->{line}";
		($block->{skip}) = grep { $block->{code} =~ /\b$_\b/ } @lacking;
	}
	my $file = "$ENV{DURABLE_TMP}/tmp/pages/$page";
	write_script($page, $file, @blocks);

	my @left = @blocks;
	open(my $psql, '-|', 'psql', '-Xq', '-P', 'footer=off', '-v', 'ON_ERROR_STOP=1', '-d', $database, '-f', $file) or die "psql: $!\n";
	while (my $line = <$psql>)
	{
		next if $line !~ /^block done$/;
		my $block = shift @left;
	  SKIP:
		{
			skip("$page line $block->{line}: no extension $block->{skip}", 1) if $block->{skip};
			my $why = difference($block);
			ok(!defined $why, "$page line $block->{line}") or diag $why;
		}
	}
	close($psql);
	foreach my $block (@left)
	{
		fail("$page line $block->{line}: " . ($block == $left[0] ? 'failed' : 'not reached'));
	}

	my @roles = grep { !$others{$_} } roles();
	administrate('postgres', "DROP DATABASE $database WITH (FORCE)", map { "DROP ROLE $_" } @roles);
}

# Checks the syntax of the blocks in a language, unless its command is missing.
sub check_syntax
{
	my ($page, $language, @command) = @_;
	foreach my $block (grep { $_->{language} eq $language } blocks($page))
	{
	  SKIP:
		{
			skip("$page line $block->{line}: no $command[0]", 1) if system("command -v $command[0] >/dev/null") != 0;
			open(my $checker, '|-', @command) or die "$command[0]: $!\n";
			binmode($checker, ':encoding(UTF-8)');
			print $checker $block->{code};
			ok(close($checker), "$page line $block->{line} has no syntax errors");
		}
	}
}

# A page without its blocks and literals.
sub prose
{
	my ($page) = @_;
	return $text{$page} =~ s/^```.*?^```$//gmsr =~ s/`[^`\n]+`/x/gr;
}

# The anchors that GitHub gives to the headings of a page.
sub anchors
{
	my ($page) = @_;
	my (%anchors, %count);
	foreach my $heading (($text{$page} // slurp($page)) =~ s/^```.*?^```$//gmsr =~ /^#+ (.*)$/gm)
	{
		my $anchor = lc($heading =~ s/\[([^]]*)\]\([^)]*\)/$1/gr) =~ s/[^\w\- ]//gr =~ tr/ /-/r;
		my $before = $count{$anchor}++;
		$anchors{ $before ? "$anchor-$before" : $anchor } = 1;
	}
	$anchors{$_} = 1 foreach ($text{$page} // slurp($page)) =~ /<a id="([^"]+)">/g;
	return \%anchors;
}

sub check_links
{
	my ($page) = @_;
	my @broken;
	foreach my $target (prose($page) =~ /\]\(([^)\s]+)\)/g)
	{
		next if $target =~ /^\w+:/;
		my ($path, $anchor) = $target =~ /^([^#]*)#?(.*)$/;
		my $file = $path eq '' ? $page : dirname($page) . "/$path";
		$file =~ s{^\./}{};
		1 while $file =~ s{[^/]+/\.\./}{};
		push @broken, $target if !-e $file || ($anchor ne '' && !anchors($file)->{$anchor});
	}
	is(join(' ', @broken), '', "$page: the targets of its links exist");
}

fresh_database('pages', 'durable');

# durable.name, whatever it is the name of.
my %known = map { $_ => 1 } qw(control so), query('pages', <<'SQL');
SELECT proname FROM pg_proc WHERE pronamespace = 'durable'::regnamespace
UNION SELECT typname FROM pg_type WHERE typnamespace = 'durable'::regnamespace
UNION SELECT split_part(name, '.', 2) FROM pg_settings WHERE name LIKE 'durable.%'
SQL

sub check_names
{
	my ($page) = @_;
	my %unknown = map { $_ => 1 } grep { !$known{$_} } $text{$page} =~ /\bdurable\.([a-z_]+)/g;
	is(join(' ', sort keys %unknown), '', "$page: every durable.name exists");
}

foreach my $page (split /\n/, slurp("$ENV{DURABLE_TMP}/pages"))
{
	run_sql($page);
	check_syntax($page, 'sh', 'bash', '-n');
	check_syntax($page, 'js', 'node', '--check', '-');
	check_syntax($page, 'python', 'python3', '-c', 'import ast, sys; ast.parse(sys.stdin.read())');
	check_links($page);
	check_names($page);
}

cmp_ok(scalar(() = $text{'README.md'} =~ /\n/g), '<=', $longest_readme, "README.md has at most $longest_readme lines");

# The table of settings: | `name` | default | ...
my @wrong;
foreach my $row (query('pages', "SELECT name || '|' || current_setting(name) FROM pg_settings WHERE name LIKE 'durable.%'"))
{
	my ($name, $default) = split /\|/, $row, 2;
	$default = $default eq '' ? 'empty' : "`$default`";
	push @wrong, "$name: $default" unless $text{'docs/operations.md'} =~ /^\| `\Q$name\E` \| \Q$default\E \|/m;
}
is(join("\n", @wrong), '', 'the settings have the defaults that docs/operations.md says');

foreach my $setup (glob('test/demo/*-setup.sql'))
{
	my @paragraphs = map { s/\s+$//r } split /\n\n+/, join('', grep { !/^\\/ } split /^/, slurp($setup));
	my @pages = grep { my $page = $_; !grep { index($text{$page}, $_) < 0 } @paragraphs } @manual;
	ok(@pages > 0, "a page has the code of $setup");
}

administrate('postgres', 'DROP DATABASE pages WITH (FORCE)');
done_testing();
