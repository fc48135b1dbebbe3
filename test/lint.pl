# Checks of the source that no compiler makes: which folder may include which, names that mean one thing, phrases that
# CONTRIBUTING.md asks to avoid, and whether docs/architecture.md still fits the source. Prints what is wrong, with file and line.
use strict;
use warnings;

my @problems;

sub slurp
{
	my ($file) = @_;
	open(my $in, '<', $file) or die "$file: $!";
	local $/;
	return scalar <$in>;
}

# Each folder may include only what stands left of it; worker and client stand beside each other.
my @order = qw(common shmem sched store call engine search worker|client init);
my %rank;
foreach my $i (0 .. $#order)
{
	$rank{$_} = $i foreach split /\|/, $order[$i];
}
my %source = map { $_ => slurp($_) } glob 'src/*/*.[ch]';
foreach my $file (sort keys %source)
{
	my ($folder) = $file =~ m{^src/(\w+)/};
	push @problems, "$file: folder $folder has no place in the order" unless defined $rank{$folder} || $folder eq 'gateway';
	while ($source{$file} =~ m{^#include "(?:\.\./)?((\w+)/\w+\.h)"}mg)
	{
		my ($header, $from) = ($1, $2);
		next unless defined $rank{$from} && $from ne $folder;
		my $allowed = $folder eq 'gateway' ? $header eq 'common/links.h' : $rank{$from} < $rank{$folder};
		push @problems, "$file: must not include $header" unless $allowed;
	}
}

# A header is implemented by the file of its name; a struct, and a static function, has a name of its own.
my %seen;
foreach my $file (sort keys %source)
{
	my $program = $file =~ m{/gateway/} ? 'gateway' : 'extension';
	(my $code = $source{$file}) =~ s{/\*.*?\*/}{ $& =~ s/[^\n]//gr }gse;
	my @names;
	push @names, [ 'struct', $1 ] while $code =~ /^(?:typedef )?(?:struct|enum) (\w+)\n\{/mg;
	push @names, [ 'function', $1 ] while $code =~ /^(\w+)\([^;{]*?\)\n\{/mg;
	foreach (@names)
	{
		my ($kind, $name) = @$_;
		push @problems, "$file: $kind $name is defined in $seen{$program}{$kind}{$name}, too" if $seen{$program}{$kind}{$name};
		$seen{$program}{$kind}{$name} = $file;
	}
}
foreach my $file (grep { /\.h$/ } sort keys %source)
{
	my $program = $file =~ m{/gateway/} ? 'gateway' : 'extension';
	while ($source{$file} =~ /^(?:_Noreturn )?extern (?!PGDLLEXPORT)[^;]*?\b(\w+)\s*\([^;]*\);/mg)
	{
		my $name = $1;
		my $where = $seen{$program}{function}{$name} // next;
		push @problems, "$file: $name is implemented in $where" unless $where eq $file =~ s/h$/c/r;
	}
}

# Phrases that are not plain English.  A blank stands for any white space, also at the end of a line of a comment.
my @banned = map { s/ /[\\s*]+/gr } (
	'in vain', 'dear', 'as ever', 'at hand', 'in the midst', 'at least so', 'by who',
	'(?:is|are|was|were)(?: not)? to be', '(?:is|are|was|were) not to', '(?:has|have|had) not to', '(?:has|have) not(?: got)? (?:a|an|any|the|its)',
	'what (?:came|comes|has come) of (?:it|them|that)', 'of (?:these|those|them|which) there (?:is|are)', 'without (?:one|that) it',
	'in whose way', 'makes? way', 'to it that', 'but that (?:it|its|they)', 'that is so', 'come to nothing', 'if that can be',
	'(?:tells?|told) of', 'sees? to', 'nobody need', 'some times what', 'so many times what'
);
my $banned = join('|', @banned);

# The texts that people read: comments of C, COMMENTs of the install script, prose of the manual; the rest of a file is blanked.
sub prose
{
	my ($file, $text) = @_;
	my $blank = sub { $_[0] =~ s/[^\n]/ /gr };
	return $text =~ s/^```.*?^```$/$blank->($&)/gmser if $file =~ /\.md$/;
	my $wanted = $file =~ /\.sql$/ ? qr{^COMMENT ON [^']*'(?:[^']|'')*'}m : qr{/\*.*?\*/}s;
	my ($result, $end) = ('', 0);
	while ($text =~ /$wanted/g)
	{
		$result .= $blank->(substr($text, $end, $-[0] - $end)) . $&;
		$end = $+[0];
	}
	return $result;
}
foreach my $file (sort(keys %source), glob('src/sql/*.sql docs/*.md README.md'))
{
	my $text = prose($file, $source{$file} // slurp($file));
	while ($text =~ /\b(?:$banned)\b/gi)
	{
		my $line = 1 + (substr($text, 0, $-[0]) =~ tr/\n//);
		my $phrase = $& =~ s/[\s*]+/ /gr;
		push @problems, "$file:$line: say \"$phrase\" in plain English";
	}
}

# docs/architecture.md names every file of the source; the files and functions that it names exist. A header goes with the file
# that implements it. A function right before a file in parentheses, `name()` (`folder/file.c`), is defined in that file.
my $page = slurp('docs/architecture.md');
my $folders = join('|', map { m{^src/(\w+)/} } keys %{ { map { s{[^/]*$}{}r => 1 } keys %source } });
my %named = map { $_ => 1 } $page =~ m{\b((?:$folders)/\w+\.[ch])\b}g;
foreach (sort keys %named)
{
	push @problems, "docs/architecture.md: there is no src/$_" unless -e "src/$_";
}
foreach my $file (map { s{^src/}{}r } sort keys %source)
{
	my $implementation = $file =~ s/h$/c/r;
	push @problems, "docs/architecture.md: src/$file has no line" unless $named{ -e "src/$implementation" ? $implementation : $file };
}
my %parts = map { $_ => 1 } $page =~ m{\b(src/sql/[\w-]+\.sql)\b}g;
push @problems, map { "docs/architecture.md: there is no $_" } grep { !-e } sort keys %parts;
push @problems, map { "docs/architecture.md: $_ has no line" } grep { !$parts{$_} } glob 'src/sql/*.sql';

sub defines
{
	my ($function, @files) = @_;
	return grep { ($source{$_} // '') =~ /^$function\(/m } @files;
}
my %function = map { $_ => 1 } $page =~ /`(\w+)\(\)`/g;
push @problems, map { "docs/architecture.md: no file defines $_" } grep { !defines($_, keys %source) } sort keys %function;
while ($page =~ /`(\w+)\(\)` \(`([\w\/]+\.c)`\)/g)
{
	push @problems, "docs/architecture.md: src/$2 does not define $1" if defines($1, keys %source) && !defines($1, "src/$2");
}

# Each TAP test has a number of its own.
my %number;
push @{ $number{ s{.*/(\d+)_.*}{$1}r } }, $_ foreach glob 'test/t/*.pl';
push @problems, map { "@{ $number{$_} }: the number is used twice" } grep { @{ $number{$_} } > 1 } sort keys %number;

print "$_\n" foreach @problems;
exit(@problems ? 1 : 0);
