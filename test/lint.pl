# Checks of the source that no compiler makes: which folder may include which, names that mean one thing, and phrases that
# CONTRIBUTING.md asks to avoid. Prints what is wrong, with file and line.
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

print "$_\n" foreach @problems;
exit(@problems ? 1 : 0);
